"""Claimed tasks back to the head of their queues: rows first, then their tickets, no retry counted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from jobs.domain.errors import RedisUnavailable
from jobs.operations import runs, tickets
from jobs.store import redis
from jobs.worker.records import Active

if TYPE_CHECKING:
    from jobs.worker.engine import Engine

log = structlog.get_logger("worker")


def pairs(engine: "Engine", held: Sequence[tuple[str, int]], *, unstarted: bool) -> None:
    """Return (id, token) pairs; those that are no longer this worker's are left alone."""
    if not held:
        return
    stamp = tickets.stamp("")
    rows = runs.hand_back(engine.worker_id, held, unstarted=unstarted, epoch=stamp)
    if not engine.uses_redis:
        return
    try:
        redis.ack(engine.worker_id, [task_id for task_id, _ in held])
    except RedisUnavailable:
        return  # stamped rows without a ticket: the look finds them
    if stamp:
        tickets.push(list(reversed(tickets.tickets_of(rows))), front=True)


def records(engine: "Engine", listed: Sequence[Active], *, unstarted: bool) -> None:
    """Return runs of this process and forget them here."""
    if not listed:
        return
    pairs(engine, [(rec.run.id, rec.run.token) for rec in listed], unstarted=unstarted)
    for rec in listed:
        rec.done = True
        engine.forget(rec)
    log.info("handed back", count=len(listed), started=not unstarted)
