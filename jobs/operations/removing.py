"""Deleting a queue: a tenant's own, empty or emptied by force; the next submit to it registers it again."""

import structlog
from django.db import transaction
from django.utils.translation import gettext_noop

from jobs.domain.errors import Conflict
from jobs.domain.states import State
from jobs.operations import audits, emptying, queues
from jobs.operations.emptying import Emptied
from jobs.store import catalog, postgres
from jobs.store.crashes import crash_point

log = structlog.get_logger("queues")

_DIED_S = 3 * emptying.MOST_S
_HELD = (State.PENDING, State.SCHEDULED, State.RETRY, State.AGGREGATING, State.ARCHIVED)
_BEING_DELETED = "being deleted"
_USE_FORCE = gettext_noop(
    "Queue %(queue)s is not empty: use force to cancel, refund and delete its tasks"
)
_BUSY_LEFT = gettext_noop("Queue %(queue)s is not empty: busy tasks are left, repeat it")


def remove(name: str, *, force: bool, actor: str, reason: str = "") -> Emptied:
    """Delete a queue. Raises UnknownQueue; Conflict: it is one of the contract's, not empty, or has running tasks.

    `force`: what it holds is cancelled, refunded and deleted first; running tasks are never cut off. Ended tasks stay
    for their retention.
    """
    row = catalog.queues(fresh=True).get(name)
    if row.base_id is None:
        raise Conflict("Queue %(queue)s is part of the contract and cannot be deleted", queue=name)
    _refuse_active(row)
    if not force:
        _mark_removed(row, _USE_FORCE)
        return Emptied(deleted=0, refunded=0, remaining=False)
    done = _emptied(row, actor, reason)
    log.warning("queue deleted", queue=name, deleted=done.deleted, refunded=done.refunded)
    return done


def _emptied(row: catalog.QueueRow, actor: str, reason: str) -> Emptied:
    """Nothing starts meanwhile; a refusal leaves the queue as it was, but for what was deleted."""
    done = Emptied(deleted=0, refunded=0, remaining=True)
    _set_paused(row, True)
    try:
        crash_point("deletion_begun")
        _refuse_active(row)
        done = emptying.empty(row.name, actor=actor, reason=reason or "queue deleted", whole=True)
        crash_point("deletion_emptied")
        _mark_removed(row, _BUSY_LEFT)
    except BaseException:
        if done.deleted:
            audits.record(
                actor=actor,
                action="queue.empty",
                target=row.name,
                reason=reason,
                after={"deleted": done.deleted, "refunded_credits": done.refunded},
                tenant_id=row.tenant_id,
            )
        _set_paused(row, False)
        raise
    return done


def take_back() -> list[str]:
    """End deletions whose process died: their queues run again.

    What was deleted is refunded and stays deleted, what is left runs; an operator may delete the queue again. One that
    is still at work all the same is refused at its end, if anything is there by then. Returns the queues' names.
    """
    with transaction.atomic():
        rows = postgres.query(
            "UPDATE queue SET paused = false, paused_reason = '', deleting_at = NULL"
            " WHERE deleting_at < clock_timestamp() - %s * interval '1 second' RETURNING name, tenant_id",
            [_DIED_S],
        )
        for name, tenant_id in rows:
            audits.record(
                actor="system",
                action="queue.delete",
                target=name,
                reason="its process died; the queue runs again",
                refused=True,
                tenant_id=tenant_id,
            )
        if rows:
            queues.announce()
            log.warning("deletions taken back", queues=[name for name, _ in rows])
    return [name for name, _ in rows]


def _refuse_active(row: catalog.QueueRow) -> None:
    if emptying.has_any(row.id, State.ACTIVE):
        raise Conflict(
            "Tasks of queue %(queue)s are running: pause it and wait, or cancel them",
            queue=row.name,
        )


def _mark_removed(row: catalog.QueueRow, refusal: str) -> None:
    with transaction.atomic():
        postgres.query("SELECT 1 FROM queue WHERE id = %s FOR UPDATE", [row.id])
        held = [s.wire for s in (State.ACTIVE, *_HELD) if emptying.has_any(row.id, s)]
        if held:
            raise Conflict(refusal, queue=row.name, states=held)
        postgres.query(
            "UPDATE queue SET removed = true, level = 0, deleting_at = NULL, paused = paused AND deleting_at IS NULL,"
            " paused_reason = CASE WHEN deleting_at IS NULL THEN paused_reason ELSE '' END"
            " WHERE id = %s RETURNING 1",
            [row.id],
        )
        queues.announce()


def _set_paused(row: catalog.QueueRow, paused: bool) -> None:
    """The deletion's own pause, told apart by `deleting_at`; somebody else's stays as it is."""
    with transaction.atomic():
        if postgres.query(
            "UPDATE queue SET paused = %s, paused_reason = %s,"
            " deleting_at = CASE WHEN %s THEN clock_timestamp() END"
            " WHERE id = %s AND (deleting_at IS NOT NULL OR %s AND NOT paused) RETURNING 1",
            [paused, _BEING_DELETED if paused else "", paused, row.id, paused],
        ):
            queues.announce()
