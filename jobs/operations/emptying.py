"""Emptying a queue: every waiting task is cancelled, refunded and deleted, in short transactions."""

import time
from dataclasses import dataclass

import structlog
from django.db import transaction

from jobs.domain.errors import RedisUnavailable
from jobs.domain.outcomes import Kind
from jobs.domain.states import Lane, State, Status
from jobs.operations import endings
from jobs.operations.endings import Finish
from jobs.store import catalog, keys, postgres, redis

log = structlog.get_logger("queues")

BATCH = 200
MOST_S = 20.0
_WAITING = (State.PENDING, State.SCHEDULED, State.RETRY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Emptied:
    """`remaining`: tasks are left (busy ones, or the time for one call was over)."""

    deleted: int
    refunded: int
    remaining: bool


def empty(name: str, *, actor: str, reason: str = "") -> Emptied:
    """Delete all that waits in a queue (in dead_letter: its archived tasks). Running tasks are left alone.

    At most some seconds per call. Raises UnknownQueue.
    """
    queue = catalog.queues(fresh=True).get(name)
    states = (State.ARCHIVED,) if name == catalog.DEAD_LETTER else _WAITING
    deleted = refunded = 0
    until_s = time.monotonic() + MOST_S
    while True:
        batch, paid = _batch(queue.id, states, actor, reason)
        deleted, refunded = deleted + batch, refunded + paid
        if batch == 0 or time.monotonic() > until_s:
            break
    remaining = bool(
        postgres.query(
            "SELECT 1 FROM task WHERE queue_id = %s AND state = ANY(%s::smallint[]) LIMIT 1",
            [queue.id, [int(state) for state in states]],
        )
    )
    if not remaining:
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


def _batch(queue_id: int, states: tuple[State, ...], actor: str, reason: str) -> tuple[int, int]:
    how = Finish(
        state=State.COMPLETED,
        status=Status.CANCELLED,
        sources=states,
        kind=Kind.CANCELLED,
        reason=reason or "queue emptied",
        actor=actor,
    )
    with transaction.atomic():
        rows = postgres.fetch(
            "queue_empty", {"queue": queue_id, "states": [int(s) for s in states], "limit": BATCH}
        )
        done = endings.finish([row[0] for row in rows], how) if rows else []
        if done:
            postgres.fetch("task_delete_many", {"ids": [d.id for d in done], "actor": actor})
    return len(done), sum(d.refunded for d in done)


def _drop_tickets(queue: catalog.QueueRow) -> None:
    """Tickets of deleted tasks are harmless but for the place they take.

    One pushed since the last look goes with them: its row is un-ticketed, so that a refill pushes it again.
    """
    try:
        for lane in (Lane.ASYNC, Lane.PROCESS):
            redis.drop_list(keys.tickets(queue.name, lane))
    except RedisUnavailable as error:
        log.info("tickets of an emptied queue left", queue=queue.name, error=str(error))
    postgres.query(
        "UPDATE task SET ticket = 0 WHERE state = 1 AND queue_id = %s RETURNING 1", [queue.id]
    )
