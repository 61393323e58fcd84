"""Emptying a queue: every waiting task is cancelled, refunded and deleted, in short transactions."""

import time
from dataclasses import dataclass

import structlog
from django.db import transaction

from jobs.domain.errors import RedisUnavailable
from jobs.domain.outcomes import Kind
from jobs.domain.states import State, Status
from jobs.operations import endings, tickets
from jobs.operations.endings import Finish
from jobs.store import catalog, keys, postgres, redis

log = structlog.get_logger("queues")

BATCH = 200
MOST_S = 20.0
# Lines first: every place that is emptied lets the next of its line go.
_WAITING = (State.AGGREGATING, State.PENDING, State.SCHEDULED, State.RETRY)
_IN_ORDER = {
    State.PENDING: "state = 1 ORDER BY ord",
    State.SCHEDULED: "state = 3 ORDER BY task.id DESC",
    State.RETRY: "state = 4 ORDER BY task.id DESC",
    State.ARCHIVED: "state = 5 ORDER BY task.id",
    State.AGGREGATING: "state IN (3, 4, 7) AND state = 7 AND flags & 128 > 0 ORDER BY task.id DESC",
    State.ACTIVE: "state = 2 ORDER BY worker_id",
}
_ALL_HELD = "state IN (3, 4, 7) AND state = 7 ORDER BY task.id DESC"
"""Literal, so that each state is read in the order of its partial index."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Emptied:
    """`remaining`: tasks are left (busy ones, or the time for one call was over)."""

    deleted: int
    refunded: int
    remaining: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Which tasks go; `tenant_id` None: whoever's; `whole`: also those that wait for others."""

    queue_id: int
    tenant_id: int | None
    whole: bool = False


def empty(
    name: str,
    *,
    actor: str,
    reason: str = "",
    tenant_id: int | None = catalog.DEFAULT_TENANT,
    whole: bool = False,
) -> Emptied:
    """Delete all that waits in a queue (in dead_letter: its archived tasks). Running tasks are left alone.

    `tenant_id` says whose dead letters go, for all tenants share that queue; None: everybody's. `whole`: what is
    archived here and what waits for other tasks goes too. At most some seconds per call. Raises UnknownQueue.
    """
    queue = catalog.queues(fresh=True).get(name)
    is_shared = name == catalog.DEAD_LETTER
    states: tuple[State, ...] = (State.ARCHIVED,) if is_shared else _WAITING
    if whole and not is_shared:
        states = (*_WAITING, State.ARCHIVED)
    place = _Place(queue.id, tenant_id if is_shared else None, whole)
    deleted = refunded = 0
    until_s = time.monotonic() + MOST_S
    for state in states:
        while time.monotonic() < until_s:
            batch, paid = _batch(place, state, actor, reason)
            deleted, refunded = deleted + batch, refunded + paid
            if batch == 0:
                break
    remaining = any(_next(place, state, limit=1) for state in states)
    if not remaining and not is_shared:
        _drop_tickets(queue)
    log.warning(
        "queue emptied",
        queue=name,
        deleted=deleted,
        refunded=refunded,
        remaining=remaining,
        reason=reason,
    )
    return Emptied(deleted=deleted, refunded=refunded, remaining=remaining)


def has_any(queue_id: int, state: State) -> bool:
    """Whether a task of this queue is in this state, by the rows."""
    return bool(_next(_Place(queue_id, None, True), state, limit=1))


def _next(place: _Place, state: State, *, limit: int, suffix: str = "") -> list[str]:
    order = _ALL_HELD if place.whole and state is State.AGGREGATING else _IN_ORDER[state]
    whose, params = "", [place.queue_id]
    if place.tenant_id is not None:
        whose, params = "tenant_id = %s AND ", [place.queue_id, place.tenant_id]
    rows = postgres.query(
        f"SELECT id::text FROM task WHERE queue_id = %s AND {whose}{order} LIMIT %s {suffix}",
        [*params, limit],
    )
    return [row[0] for row in rows]


def _batch(place: _Place, state: State, actor: str, reason: str) -> tuple[int, int]:
    """The next that nobody is busy with, locked by skipping: what others hold is never waited for."""
    how = Finish(
        state=State.COMPLETED,
        status=Status.CANCELLED,
        sources=(state,),
        kind=Kind.CANCELLED,
        reason=reason or "queue emptied",
        actor=actor,
    )
    with transaction.atomic():
        tickets.ordered_plan()
        found = _next(place, state, limit=BATCH, suffix="FOR NO KEY UPDATE SKIP LOCKED")
        done = endings.finish(found, how) if found else []
        if done:
            postgres.fetch("task_delete_many", {"ids": [d.id for d in done], "actor": actor})
    return len(done), sum(d.refunded for d in done)


def _drop_tickets(queue: catalog.QueueRow) -> None:
    """Tickets of deleted tasks are harmless but for the place they take.

    One pushed since the last look goes with them: its row is un-ticketed, so that a refill pushes it again.
    """
    try:
        for lane in keys.LISTED:
            redis.drop_list(keys.tickets(queue.name, lane))
    except RedisUnavailable as error:
        log.info("tickets of an emptied queue left", queue=queue.name, error=str(error))
    postgres.query(
        "UPDATE task SET ticket = 0 WHERE state = 1 AND queue_id = %s RETURNING 1", [queue.id]
    )
