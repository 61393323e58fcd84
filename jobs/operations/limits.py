"""Limits per key: a task under one stands in its key's line (`aggregating`) until there is a place and the rate allows.

Whoever lets tasks go holds the key's row in `task_limit` and counts the places in `task` itself: nothing that a crash
could leave behind is kept. Every arrival and every place that becomes free is followed by a look after its commit; a
duty looks again each second, and when a rate's next start is due.
"""

from collections.abc import Iterable, Sequence

import structlog
from django.db import DatabaseError, transaction

from jobs.domain.limits import Limit
from jobs.domain.states import State
from jobs.models.tasks import Flag
from jobs.operations import tickets
from jobs.operations.requests import Prepared
from jobs.store import postgres

log = structlog.get_logger("limits")

MOST = 200
_AT_ONCE = 1000
_PASSES = 20
_LINES = 500
_LOCK_MS = 200
_LONGEST_S = 1.0
_SHORTEST_S = 0.05


def name(items: Sequence[Prepared]) -> None:
    """Give each limited item its limit's id; the limit last given for a key holds, a new key alone is one at a time."""
    limited = [item for item in items if item.limit_key is not None]
    if not limited:
        return
    wanted: dict[str, Limit | None] = {}
    for item in limited:
        wanted[str(item.limit_key)] = item.limit or wanted.get(str(item.limit_key))
    tenant_id = limited[0].tenant_id
    found = _named(wanted, tenant_id)
    for item in limited:
        item.limit_id = found[str(item.limit_key)]


def has_place(state: State, flags: int, runs: int) -> bool:
    """Whether a limited task counts against its limit: admitted, running, or on a platform between two polls."""
    if state in (State.PENDING, State.ACTIVE):
        return True
    return state in (State.SCHEDULED, State.RETRY) and runs > 0 and bool(flags & Flag.PLATFORM)


def admit_soon(limit_ids: Iterable[int | None]) -> None:
    """Look at these limits after the commit; what fails then is left to the duty."""
    ids = sorted({id_ for id_ in limit_ids if id_ is not None})
    if ids:
        transaction.on_commit(lambda: _try(ids), robust=True)


def admit(limit_ids: Sequence[int], *, wait: bool = True) -> None:
    """Let go what may go, in bounded steps. `wait=False` leaves out limits that somebody else has locked.

    The first look takes no lock: most tasks that arrive or end find their line empty or their limit reached.
    """
    left = list(limit_ids)
    for _ in range(_PASSES):
        rooms, _ = _rooms(left)
        left = _admit(sorted(rooms), wait=wait) if rooms else []
        if not left:
            return


def tend(after: int = 0) -> tuple[int, float]:
    """The duty: the next lines after this limit; returns (where to go on, seconds until then)."""
    with transaction.atomic():
        tickets.ordered_plan()
        rows = postgres.fetch("limit_lines", {"after": after, "limit": _LINES})
    lines = [row[0] for row in rows]
    wait_s = None
    if lines:
        admit(lines, wait=False)
        wait_s = _rooms(lines)[1]
    if len(lines) == _LINES:
        return lines[-1], _SHORTEST_S
    return 0, max(_SHORTEST_S, min(_LONGEST_S, _LONGEST_S if wait_s is None else wait_s))


def prune(limit: int) -> int:
    """Forget keys that nobody has used for a month; returns how many."""
    return len(postgres.fetch("limit_prune", {"limit": limit}))


def _named(wanted: dict[str, Limit | None], tenant_id: int) -> dict[str, int]:
    """Limit ids by key. One statement for all keys, in their order: two of them could lock each other out."""
    limits = [limit or Limit(concurrency=1) for limit in wanted.values()]
    rates = [limit.starts or (None, None) for limit in limits]
    rows = postgres.fetch(
        "limit_name",
        {
            "keys": list(wanted),
            "concurrencies": [limit.concurrency for limit in limits],
            "starts": [rate[0] for rate in rates],
            "periods_s": [rate[1] for rate in rates],
            "tenant": tenant_id,
            "given": [key for key, limit in wanted.items() if limit is not None],
        },
    )
    return dict(rows)


def _try(limit_ids: Sequence[int]) -> None:
    try:
        admit(limit_ids)
    except DatabaseError as error:
        log.info("left to the duty", error=str(error).strip())


def _rooms(limit_ids: Sequence[int]) -> tuple[dict[int, int], float | None]:
    """How many of each line may go now, and in how many seconds the next one of those that have a rate."""
    rows = postgres.fetch("limit_room", {"limits": list(limit_ids), "most": MOST})
    waits_s = [row[2] for row in rows if row[2] is not None]
    return {row[0]: row[1] for row in rows if row[1] > 0}, min(waits_s, default=None)


def _admit(limit_ids: Sequence[int], *, wait: bool) -> list[int]:
    """One transaction; returns the limits that should be looked at again, because a bound of ours cut them short."""
    stamp = tickets.stamp("")
    with transaction.atomic():
        locked = _locked(limit_ids, wait=wait)
        rooms, _ = _rooms(locked)  # a new snapshot: it sees what the lock's last holder let go
        asked, more = _bounded(rooms)
        if not asked:
            return []
        rows = postgres.fetch(
            "limit_admit",
            {"limits": list(asked), "rooms": list(asked.values()), "ticket": stamp},
        )
        for front in (False, True):
            ready = tickets.tickets_of([(r[0], r[1], r[2]) for r in rows if r[3] is front])
            if stamp:
                tickets.push_after_commit(ready[::-1] if front else ready, front=front)
    return more if rows else []


def _locked(limit_ids: Sequence[int], *, wait: bool) -> list[int]:
    """The limits, locked in order; a forgotten one has no row to lock. Waits no longer than a settle can bear."""
    tickets.ordered_plan()
    postgres.query(f"SELECT set_config('lock_timeout', '{_LOCK_MS}ms', true)")
    rows = postgres.query(
        "WITH l AS MATERIALIZED (SELECT id FROM task_limit WHERE id = ANY(%(ids)s::bigint[])"
        f" ORDER BY id FOR NO KEY UPDATE {'' if wait else 'SKIP LOCKED'}"
        ") SELECT id FROM l UNION ALL SELECT n.id FROM unnest(%(ids)s::bigint[]) AS n(id)"
        " WHERE NOT EXISTS (SELECT FROM task_limit x WHERE x.id = n.id)",
        {"ids": list(limit_ids)},
    )
    return [row[0] for row in rows]


def _bounded(rooms: dict[int, int]) -> tuple[dict[int, int], list[int]]:
    """As many as one transaction should move, and the limits of which there may be more."""
    asked: dict[int, int] = {}
    left = _AT_ONCE
    for limit_id, room in rooms.items():
        if left > 0:
            asked[limit_id] = min(room, left)
            left -= asked[limit_id]
    more = [id_ for id_, room in rooms.items() if room == MOST or asked.get(id_, 0) < room]
    return asked, more
