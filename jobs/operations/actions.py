"""What an operator may do to one task: run, archive, delete, cancel. Each checks the table under the row's lock."""

from dataclasses import dataclass
from uuid import UUID

import structlog
from django.db import transaction

from jobs.domain import ids
from jobs.domain.errors import TaskNotFound
from jobs.domain.outcomes import Kind
from jobs.domain.states import State, Status
from jobs.domain.transitions import Event, check, legal
from jobs.models import Event as EventRow
from jobs.models.tasks import Flag
from jobs.operations import credits, endings, limits, locks, platform_facts, tickets
from jobs.operations.endings import Finish
from jobs.store import catalog, postgres, redis

log = structlog.get_logger("asynq")

DEFAULT_CANCEL_REASON = "管理员手动取消"
DEFAULT_BATCH_CANCEL_REASON = "管理员批量取消"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """`requested`: a run is active, its end and the refund follow."""

    id: UUID
    user_id: int | None
    credits: int
    refunded: bool
    requested: bool
    reason: str


@dataclass(frozen=True, slots=True)
class _Locked:
    id: UUID
    state: State
    status: Status
    queue_id: int
    origin_id: int | None
    worker_id: int | None
    account_id: int | None
    credits: int
    cycle: int
    flags: int
    lane: int
    runs: int
    limit_id: int | None


def cancel(
    task_id: UUID,
    *,
    reason: str = DEFAULT_CANCEL_REASON,
    actor: str,
    force: bool = False,
    tenant_id: int = 1,
) -> Cancelled:
    """Cancel and refund. A running task is asked to stop (`requested`) unless `force`; so is one on a platform
    whose cancels only ask: its final word decides.

    Raises TaskNotFound, IllegalTransition when it has ended.
    """
    with transaction.atomic():
        row = _lock(task_id, tenant_id)
        check(Event.CANCEL, row.state, row.status)
        user_id = _user_of(task_id)
        _event(task_id, "cancel", actor, reason=reason, force=force)
        if not force and _in_two_phases(row):
            done, refunded = False, False
        elif row.state is State.ACTIVE and not force:
            postgres.query("UPDATE task SET cancel = 1 WHERE id = %s RETURNING 1", [task_id])
            _tell(row.worker_id)
            done, refunded = False, False
        else:
            refunded = _cancel_now(row, reason, actor)
            done = True
    log.info(
        "[CancelTaskAndRefund]",
        task_id=ids.public_id(task_id),
        user_id=user_id,
        refunded=refunded,
        reason=reason,
    )
    return Cancelled(
        id=task_id,
        user_id=user_id,
        credits=row.credits,
        refunded=refunded,
        requested=not done,
        reason=reason,
    )


def run_now(task_id: UUID, *, actor: str, tenant_id: int = 1, slowly: bool = False) -> State:
    """Run a waiting task at once (a pending one moves to the head), or redrive an archived one.

    `slowly`: a dead letter does not go back to its origin queue but runs from dead_letter, at its low weight.
    Returns its state: pending, or aggregating in the line of its limit.
    Raises TaskNotFound, IllegalTransition, InsufficientCredits (redrive of a refunded task).
    """
    with transaction.atomic():
        row = _lock(task_id, tenant_id)
        if row.state is State.ARCHIVED:
            return _redrive(row, actor, slowly)
        check(Event.RUN, row.state)
        _event(task_id, "run", actor, was=row.state.wire)
        return _to_head(row)


def archive(task_id: UUID, *, actor: str, tenant_id: int = 1) -> None:
    """Put a waiting task aside in its own queue; its time limit still runs. Raises TaskNotFound, IllegalTransition."""
    with transaction.atomic():
        row = _lock(task_id, tenant_id)
        check(Event.ARCHIVE, row.state)
        _event(task_id, "archive", actor, was=row.state.wire)
        postgres.query(
            "UPDATE task SET state = 5, run_at = NULL, ticket = 0, token = token + 1 WHERE id = %s RETURNING 1",
            [task_id],
        )
        _move_count(row.queue_id, row.state, State.ARCHIVED)
        endings.free_locks([str(task_id)] if row.flags & Flag.UNIQUE else [])
        limits.admit_soon([row.limit_id])


def delete(task_id: UUID, *, actor: str, tenant_id: int = 1) -> None:
    """Delete a task; an unfinished charged one is cancelled and refunded first. An event stays as its tombstone.

    Raises TaskNotFound, IllegalTransition (active).
    """
    with transaction.atomic():
        row = _lock(task_id, tenant_id)
        check(Event.DELETE, row.state)
        refunded = False
        if legal(Event.CANCEL, row.state, row.status):
            refunded = _cancel_now(row, "deleted", actor)
        _event(
            task_id,
            "delete",
            actor,
            was=row.state.wire,
            status=row.status.wire,
            credits=row.credits,
            refunded=refunded,
        )
        if row.state is State.ARCHIVED and not legal(Event.CANCEL, row.state, row.status):
            endings.note_awaited([(str(task_id), int(Status.FAILURE), row.flags)])
        postgres.fetch("task_delete", {"id": task_id})


def _in_two_phases(row: _Locked) -> bool:
    """One that was put aside is not polled: it would never hear the final word."""
    if not row.flags & Flag.PLATFORM or row.state is State.ARCHIVED:
        return False
    return platform_facts.request_cancel(str(row.id), active=row.state is State.ACTIVE)


def _cancel_now(row: _Locked, reason: str, actor: str) -> bool:
    [done] = endings.finish(
        [str(row.id)],
        Finish(
            state=State.COMPLETED,
            status=Status.CANCELLED,
            sources=(row.state,),
            kind=Kind.CANCELLED,
            reason=reason,
            actor=actor,
        ),
    )
    if done.worker_id is not None:
        _tell(done.worker_id)
    return done.refunded > 0


def _redrive(row: _Locked, actor: str, slowly: bool) -> State:
    check(Event.REDRIVE, row.state)
    refunded = _refunded(row)
    if row.status is Status.FAILURE:
        _uncount(row.id)
    if row.flags & Flag.UNIQUE:
        locks.take_again(row.id)
    _event(row.id, "redrive", actor, runs=row.runs, charged_again=refunded > 0, credits=refunded)
    if row.status is Status.FAILURE:
        postgres.fetch("platform_reset", {"id": row.id})
    queue_id, origin_id = row.origin_id or row.queue_id, None
    if slowly:
        queue_id, origin_id = row.queue_id, row.origin_id
    queue = catalog.queues().name(queue_id)
    state = State.PENDING if row.limit_id is None else State.AGGREGATING
    stamp = tickets.stamp(queue) if state is State.PENDING else 0
    postgres.query(
        "UPDATE task SET state = %s, status = 0, queue_id = %s, origin_id = %s, retried = 0, crashes = 0, cancel = 0,"
        " cycle = cycle + %s, credits = CASE WHEN %s > 0 THEN %s ELSE credits END, token = token + 1, ticket = %s,"
        " expires_at = NULL, progress = 0, ord = (extract(epoch FROM clock_timestamp()) * 1e6)::bigint"
        " WHERE id = %s RETURNING 1",
        [state, queue_id, origin_id, int(refunded > 0), refunded, refunded, stamp, row.id],
    )
    _count(row.queue_id, State.ARCHIVED, -1)
    _count(queue_id, state, 1)
    if refunded and row.account_id is not None:
        _charge_again(row, row.account_id, refunded)
    if stamp:
        tickets.push_after_commit(tickets.tickets_of([(str(row.id), queue_id, row.lane)]))
    limits.admit_soon([row.limit_id])
    return state


def _refunded(row: _Locked) -> int:
    """What its present run-through gave back: that much is charged again, and no more can be given back later."""
    rows = postgres.query(
        "SELECT amount FROM credit_entry WHERE task_id = %s AND cycle = %s AND kind = 3",
        [row.id, row.cycle],
    )
    return int(rows[0][0]) if rows else 0


def _uncount(task_id: UUID) -> None:
    """A dead letter was counted as failed on its parent; it runs again."""
    postgres.query(
        "UPDATE shard_count s SET failed = s.failed - 1 FROM task t"
        " WHERE t.id = %s AND s.task_id = t.parent_id AND s.failed > 0 RETURNING 1",
        [task_id],
    )


def _charge_again(row: _Locked, account_id: int, amount: int) -> None:
    postgres.query(
        "INSERT INTO credit_entry (account_id, kind, amount, task_id, cycle, reason, actor)"
        " VALUES (%s, 2, %s, %s, %s, 'redrive', 'system') RETURNING 1",
        [account_id, -amount, row.id, row.cycle + 1],
    )
    credits.take({account_id: amount}, {account_id: _user_of(row.id)})


def _to_head(row: _Locked) -> State:
    """Under a limit, and without a place: to the head of its line."""
    queue, state = catalog.queues().name(row.queue_id), State.PENDING
    if row.limit_id is not None and not limits.has_place(row.state, row.flags, row.runs):
        state = State.AGGREGATING
    stamp = tickets.stamp(queue) if state is State.PENDING else 0
    postgres.query(
        "UPDATE task SET state = %s, run_at = NULL, ticket = %s, token = token + 1,"
        " ord = -(extract(epoch FROM clock_timestamp()) * 1e6)::bigint WHERE id = %s RETURNING 1",
        [state, stamp, row.id],
    )
    _move_count(row.queue_id, row.state, state)
    limits.admit_soon([row.limit_id])
    if stamp:
        tickets.push_after_commit(
            tickets.tickets_of([(str(row.id), row.queue_id, row.lane)]), front=True
        )
    return state


def _lock(task_id: UUID, tenant_id: int) -> _Locked:
    rows = postgres.query(
        "SELECT id, state, status, queue_id, origin_id, worker_id, account_id, credits, cycle, flags, lane, runs,"
        " limit_id FROM task WHERE id = %s AND tenant_id = %s FOR NO KEY UPDATE",
        [task_id, tenant_id],
    )
    if not rows:
        raise TaskNotFound(task_id=ids.public_id(task_id))
    r = rows[0]
    return _Locked(r[0], State(r[1]), Status(r[2]), *r[3:])


def _user_of(task_id: UUID) -> int | None:
    rows = postgres.query("SELECT user_id FROM task_info WHERE id = %s", [task_id])
    return rows[0][0] if rows else None


def _event(task_id: UUID, kind: str, actor: str, **detail: object) -> None:
    EventRow.objects.create(task_id=task_id, kind=kind, actor=actor, detail=detail)


def _move_count(queue_id: int, was: State, now: State) -> None:
    if was is not now:
        _count(queue_id, was, -1)
        _count(queue_id, now, 1)


def _count(queue_id: int, metric: int, n: int) -> None:
    postgres.query(
        "INSERT INTO stat_delta (queue_id, metric, n) VALUES (%s, %s, %s) RETURNING 1",
        [queue_id, int(metric), n],
    )


def _tell(worker_id: int | None) -> None:
    """Wake the worker at the commit; its heartbeat finds the cancellation in any case."""
    if worker_id is not None:
        transaction.on_commit(lambda: redis.cancel_signal(worker_id), robust=True)
