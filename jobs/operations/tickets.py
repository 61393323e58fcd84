"""Tickets: getting the ids of pending tasks into Redis, and finding out when Redis forgot them.

A row's `ticket` column holds the epoch under which its ticket is out, 0 for none. Whoever finds Redis under another
epoch raises it, which invalidates every row's ticket at once; `refill` is the one way back.
"""

import re
import threading
import time
from collections.abc import Iterable, Sequence

import structlog
from django.conf import settings
from django.db import transaction

from jobs.contract.reader import contract
from jobs.domain.errors import RedisUnavailable, StaleEpoch
from jobs.operations import quotas
from jobs.store import catalog, postgres, redis
from jobs.store.crashes import crash_point
from jobs.store.redis import Ticket

log = structlog.get_logger("tickets")

_CLOSED_S = 0.5
_DOWN_S = 1.0
_NEVER = 0.0
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class _View:
    """What this process believes of Redis between two round trips."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.epoch = 0
        self.down_until_s = _NEVER
        self.closed_until_s: dict[str, float] = {}
        self.spilled = False


_view = _View()


def epoch() -> int:
    """The epoch this process works under; reads it (and heals Redis) at the first question."""
    if _view.epoch == 0:
        renew()
    return _view.epoch


def stamp(queue: str) -> int:
    """What to write into a new pending row's `ticket`: the epoch, or 0 when no ticket will go out now."""
    now_s = time.monotonic()
    if not settings.ASYNQ_POLLING_ENABLED or now_s < _view.down_until_s:
        return 0
    if now_s < _view.closed_until_s.get(queue, _NEVER):
        return 0
    if _view.epoch == 0 and transaction.get_connection().in_atomic_block:
        return 0  # raising the epoch in somebody's transaction would lock every other process out
    try:
        return epoch()
    except RedisUnavailable:
        _mark_down()
        return 0


def warm() -> None:
    """Learn the epoch before a transaction begins; what is submitted without it is deferred to the refill."""
    if not transaction.get_connection().in_atomic_block:
        stamp("")


def push(tickets: Sequence[Ticket], *, front: bool = False) -> set[str]:
    """Push stamped tickets after their commit; returns the ids that are deferred. Never raises for Redis' sake."""
    if not tickets:
        return set()
    crash_point("after_commit")
    limits, twice = contract().limits, 2 if front else 1
    try:
        _, full = redis.push(
            tickets,
            epoch=epoch(),
            limit=limits.window * twice,
            tenant_limit=limits.tenant_window * twice,
            front=front,
        )
    except StaleEpoch:
        _view.epoch = 0
        return {
            ticket.id for ticket in tickets
        }  # their stamp is of an old epoch now: refill finds them
    except RedisUnavailable as error:
        _mark_down()
        log.warning("tickets deferred", count=len(tickets), error=str(error))
        full = [ticket.id for ticket in tickets]
    if full:
        _spill(tickets, full)
    return set(full)


def push_after_commit(tickets: Sequence[Ticket], *, front: bool = False) -> None:
    """Push when the caller's transaction commits (at once outside of one)."""
    if tickets:
        transaction.on_commit(lambda: push(tickets, front=front) and None, robust=True)


def renew() -> int:
    """Agree with Redis on an epoch: raise it when Redis holds none or another. Raises RedisUnavailable."""
    with _view.lock:
        stored = _stored_epoch()
        held, run_id = redis.epoch_and_run_id()
        if held != stored:
            postgres.fetch("epoch_raise", {"seen": stored, "run_id": run_id})
            stored = (
                _stored_epoch()
            )  # read anew: the loser of a race must not go on with the old one
            quotas.load()  # before any ticket can go out
            redis.set_epoch(stored)
            log.warning("redis epoch raised", epoch=stored, held=held)
            _view.spilled = True
        _view.epoch = stored
        _view.down_until_s = _NEVER
        return stored


def _stored_epoch() -> int:
    return int(postgres.query("SELECT epoch FROM redis_shard WHERE name = 'default'")[0][0])


def spilled(value: bool | None = None) -> bool:
    """Whether rows are known to wait without tickets, whatever the counters say; `value` sets it."""
    if value is not None:
        _view.spilled = value
    return _view.spilled


def forget() -> None:
    """Drop this process' view (tests, after a fork)."""
    global _view
    _view = _View()


def lost(ids: Iterable[str]) -> None:
    """These tickets went down with their worker: rows that still wait for them are given new ones by `refill`."""
    known = sorted(id_ for id_ in ids if _UUID.fullmatch(id_))
    if known:
        postgres.execute("task_unticket", {"ids": known})


def tickets_of(rows: Iterable[tuple[str, int, int]]) -> list[Ticket]:
    """Tickets for (id, queue id, lane) rows."""
    known = catalog.queues()
    return [Ticket(id_, known.name(queue_id), lane) for id_, queue_id, lane in rows]


def ordered_plan() -> None:
    """Keep statements that read by order on their index: statistics of a full and of an empty queue differ too much."""
    postgres.query(
        "SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true)"
    )


def _spill(tickets: Sequence[Ticket], full: Sequence[str]) -> None:
    _view.spilled = True
    lost = set(full)
    until_s = time.monotonic() + _CLOSED_S
    for ticket in tickets:
        if ticket.id in lost:
            _view.closed_until_s[ticket.queue] = until_s
    postgres.execute("task_unticket", {"ids": list(full)})


def _mark_down() -> None:
    _view.down_until_s = time.monotonic() + _DOWN_S
    _view.epoch = 0
