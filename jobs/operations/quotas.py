"""How much of a tenant runs at once, over all workers.

Redis counts the tickets that workers hold of each limited tenant; a fetch takes no more than there is room for. What is
lost with Redis is counted anew from the rows before the first ticket goes out again; only tickets that workers held
unclaimed at that moment are missing then: a limit is exceeded by no more than itself, and only then.
"""

from collections.abc import Collection

import structlog

from jobs.domain.errors import RedisUnavailable
from jobs.store import postgres, redis, rings

log = structlog.get_logger("tenants")


def limits() -> dict[int, tuple[str, int]]:
    """Tenant id → (slug, most tasks at once), of tenants that have a limit."""
    rows = postgres.query("SELECT id, slug, max_active FROM tenant WHERE max_active IS NOT NULL")
    return {row[0]: (row[1], row[2]) for row in rows}


def active(tenants: Collection[int]) -> dict[int, set[str]]:
    """What runs of these tenants, by the rows."""
    found: dict[int, set[str]] = {}
    if tenants:
        for tenant_id, id_ in postgres.query(
            "SELECT tenant_id, id::text FROM task WHERE state = 2 AND tenant_id = ANY(%s::int[])",
            [list(tenants)],
        ):
            found.setdefault(tenant_id, set()).add(id_)
    return found


class Counting:
    """Keeps Redis' limits and counts in step with the rows."""

    def __init__(self) -> None:
        self._written = True
        self._uncounted: dict[str, set[str]] = {}
        self._suspects: dict[str, set[str]] = {}

    def step(self) -> None:
        """Write the limits, and count what has run in two steps without being counted."""
        found = limits()
        if not found and not self._written:
            return
        rings.set_limits(dict(found.values()))
        running = {found[tenant_id][0]: ids for tenant_id, ids in active(found).items()}
        counted = rings.running(list(running))
        odd = {slug: ids - counted.get(slug, set()) for slug, ids in running.items()}
        again = {slug: ids & self._uncounted.get(slug, set()) for slug, ids in odd.items()}
        rings.add_running({slug: ids for slug, ids in again.items() if ids})
        self._uncounted, self._written = odd, bool(found)

    def review(self) -> None:
        """Take out what has been counted in two reviews although neither rows nor workers know it."""
        found = limits()
        counted = rings.running([slug for slug, _ in found.values()])
        if not counted:
            self._suspects = {}
            return
        workers = [row[0] for row in postgres.query("SELECT id FROM worker WHERE dead_at IS NULL")]
        known = set().union(*redis.held(workers).values(), *active(found).values())
        odd = {slug: ids - known for slug, ids in counted.items()}
        stale = {slug: ids & self._suspects.get(slug, set()) for slug, ids in odd.items()}
        stale = {slug: ids for slug, ids in stale.items() if ids}
        if stale:
            log.warning("running counts corrected", tenants=sorted(stale)[:10])
            rings.forget_running(stale)
        self._suspects = odd


def load() -> None:
    """Tell Redis all limits, and what runs of limited tenants now."""
    found = limits()
    rings.set_limits(dict(found.values()))
    running = active(found)
    if not running:
        return
    rings.add_running({found[tenant_id][0]: ids for tenant_id, ids in running.items()})
    now = active(running)  # what ended meanwhile may have been taken out before it was put in
    ended = {found[t][0]: ids - now.get(t, set()) for t, ids in running.items()}
    rings.forget_running({slug: ids for slug, ids in ended.items() if ids})


def changed() -> None:
    """A limit changed: at once if Redis answers, else with the next step."""
    try:
        load()
    except RedisUnavailable as error:
        log.info("limits not told", error=str(error))


def full(tenants: Collection[int]) -> set[int]:
    """Those of these tenants of which no more may start now, as somebody who holds no lock sees it."""
    rows = postgres.query(
        "SELECT id, max_active FROM tenant WHERE max_active IS NOT NULL AND id = ANY(%s::int[])",
        [list(tenants)],
    )
    running = active([row[0] for row in rows])
    return {id_ for id_, most in rows if len(running.get(id_, ())) >= most}


def room_locked(tenants: Collection[int]) -> dict[int, int]:
    """How many more tasks of these tenants may start; nobody else is told the same before the transaction ends.

    For claims without tickets; tenants without a limit are left out.
    """
    rows = postgres.query(
        "SELECT id, max_active FROM tenant WHERE max_active IS NOT NULL AND id = ANY(%s::int[])"
        " ORDER BY id FOR NO KEY UPDATE",
        [list(tenants)],
    )
    running = active([row[0] for row in rows])
    return {id_: max(0, most - len(running.get(id_, ()))) for id_, most in rows}
