"""The way back into Redis: rows without a valid ticket get one, and what Redis forgot is found out."""

import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import structlog
from django.db import transaction

from jobs.contract.reader import contract
from jobs.operations import tickets
from jobs.store import catalog, keys, postgres, redis
from jobs.store.redis import Ticket

log = structlog.get_logger("tickets")

_REFILL_MOST = 1000
_REFILL_UNKNOWN = 200
_REFILL_BATCH = 2000
_REFILL_S = 1.0
_SLICE = 20_000

_Window = tuple[catalog.QueueRow, list[tuple[str, int, bool]], set[str]]


class Looking:
    """The look for lost tickets in steps, so that thousands of queues hold up nobody: missing in two looks is lost."""

    def __init__(self) -> None:
        self._suspects: set[str] = set()
        self._found: set[str] = set()
        self._left: list[int] = []

    def step(self) -> bool:
        """Look at the next queues, with at most so many pending rows together; True: this look is through."""
        if not self._left:
            self._left, self._found = waiting_queues(), set()
        pending, rows, some = pending_counts(), 0, []
        while self._left and rows < _SLICE:
            some.append(self._left.pop())
            rows += max(pending.get(some[-1], 0), 10)
        self._found |= look(self._suspects, some)
        if not self._left:
            self._suspects = self._found
        return not self._left


def refill(*, thorough: bool = False) -> int:
    """Give tickets to pending rows that have none valid, while their lists are short.

    `thorough` looks even where the counters say that nothing is missing. Returns how many were pushed.
    """
    pending = pending_counts()
    all_of_them = thorough or tickets.spilled()
    needy = _needy(waiting_queues() if all_of_them else list(pending), pending, all_of_them)
    pushed, is_whole = _refill(needy)
    if pushed == 0 and is_whole:
        tickets.spilled(False)
    return pushed


def look(suspects: set[str], queue_ids: Sequence[int] | None = None) -> set[str]:
    """Compare windows and rows once: push what was missing already in `suspects`, return what is missing now.

    Of these queues, or of all that have pending tasks. Rows without a ticket get one if their list is short.
    """
    now = tickets.epoch()
    workers = [row[0] for row in postgres.query("SELECT id FROM worker WHERE dead_at IS NULL")]
    in_flight = set().union(*redis.held(workers).values()) if workers else set()
    rows = _known(waiting_queues() if queue_ids is None else queue_ids)
    missing: set[str] = set()
    bare: set[int] = set()
    again: list[Ticket] = []
    for row, expected, listed in _windows(rows, now):
        out = [Ticket(id_, row.name, lane) for id_, lane, has_ticket in expected if has_ticket]
        if len(out) < len(expected):
            bare.add(row.id)
        lost = [t for t in out if t.id not in listed and t.id not in in_flight]
        again += [ticket for ticket in lost if ticket.id in suspects]
        missing.update(ticket.id for ticket in lost if ticket.id not in suspects)
    if again:
        log.warning("lost tickets pushed again", count=len(again), queue=again[0].queue)
        tickets.push(again)
    if bare:
        _refill(_needy(sorted(bare), {}, True))
    return missing


def waiting_queues() -> list[int]:
    """The queues that have pending tasks, by the rows: a probe each."""
    with transaction.atomic():
        tickets.ordered_plan()
        return [row[0] for row in postgres.fetch("queue_waiting")]


def pending_counts() -> dict[int, int]:
    """Pending rows of each queue that has any, as last folded."""
    return dict(postgres.query("SELECT queue_id, n FROM queue_stat WHERE metric = 1 AND n > 0"))


def window(row: catalog.QueueRow) -> int:
    """Most tickets of a list of this queue that are out at a time."""
    limits = contract().limits
    return limits.window if row.base_id is None else limits.tenant_window


def _known(queue_ids: Iterable[int]) -> list[catalog.QueueRow]:
    known = catalog.queues(fresh=True).by_id
    return [known[queue_id] for queue_id in queue_ids if queue_id in known]


def _needy(
    queue_ids: Sequence[int], pending: Mapping[int, int], all_of_them: bool
) -> list[tuple[catalog.QueueRow, int]]:
    """Queues whose lists are short, and how many tickets they may take now; each time another one first."""
    rows = [row for row in _known(queue_ids) if not row.paused]
    start = random.randrange(len(rows)) if rows else 0
    rows = rows[start:] + rows[:start]
    lengths = redis.depths([keys.tickets(r.name, lane) for r in rows for lane in keys.LISTED])
    found, per = [], len(keys.LISTED)
    for place, row in enumerate(rows):
        depth, most = sum(lengths[place * per : (place + 1) * per]), window(row)
        short = pending.get(row.id, 0) - depth
        if depth < most // 2 and (all_of_them or short > 0):
            found.append((row, min(most - depth, _REFILL_MOST, max(short, _REFILL_UNKNOWN))))
    return found


def _refill(needy: Sequence[tuple[catalog.QueueRow, int]]) -> tuple[int, bool]:
    """Many queues in one statement; (how many were pushed, whether there was time for all of them)."""
    now, pushed = tickets.epoch(), 0
    until_s = time.monotonic() + _REFILL_S
    left = list(needy)
    while left and time.monotonic() < until_s:
        chunk = [left.pop(0)]
        while left and sum(most for _, most in chunk) + left[0][1] <= _REFILL_BATCH:
            chunk.append(left.pop(0))
        pushed += _refill_queues(chunk, now)
    return pushed, not left


def _refill_queues(chunk: Sequence[tuple[catalog.QueueRow, int]], now: int) -> int:
    asked = {"queues": [row.id for row, _ in chunk], "limits": [most for _, most in chunk]}
    with transaction.atomic():
        tickets.ordered_plan()
        rows = postgres.fetch("task_refill", {**asked, "epoch": now})
    rows.sort(key=lambda r: r[3])
    deferred = tickets.push(
        tickets.tickets_of([(id_, queue_id, lane) for id_, queue_id, lane, _ in rows])
    )
    return len(rows) - len(deferred)


def _windows(rows: Sequence[catalog.QueueRow], now: int) -> Iterator[_Window]:
    """Each queue's first rows (id, lane, ticket is out), and the ids on its lists."""
    if not rows:
        return
    expected: dict[int, list[tuple[str, int, bool]]] = {}
    asked = {"queues": [row.id for row in rows], "limits": [2 * window(row) for row in rows]}
    with transaction.atomic():
        tickets.ordered_plan()
        for queue_id, id_, lane, ticket in postgres.fetch("task_window", asked):
            expected.setdefault(queue_id, []).append((id_, lane, ticket == now))
    some = [row for row in rows if row.id in expected]
    lists = [keys.tickets(row.name, lane) for row in some for lane in keys.LISTED]
    listed, per = redis.all_listed(lists), len(keys.LISTED)
    for place, row in enumerate(some):
        yield row, expected[row.id], set().union(*listed[place * per : (place + 1) * per])
