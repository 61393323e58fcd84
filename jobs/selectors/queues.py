"""Queues: their settings and counters. O(queues), whatever the number of tasks."""

from collections import Counter
from datetime import datetime

import msgspec

from jobs.domain.states import State, state_from_wire
from jobs.store import catalog, metrics, postgres

_ARCHIVED_SEEN = 100_000


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """`size` = pending + active + scheduled + retry; `utilization` = pending / capacity (0 without capacity).

    `tenant_paused`: the operator paused its tenant; `paused`: that, or the queue itself.
    """

    queue: str
    size: int
    pending: int
    active: int
    scheduled: int
    retry: int
    archived: int
    completed: int
    aggregating: int
    paused: bool
    paused_reason: str
    tenant_paused: bool
    weight: int
    capacity: int | None
    concurrency: int | None
    utilization: float
    backpressure_state: str
    oldest_pending_s: float
    processed: int
    failed: int


class QueueView(QueueStats, frozen=True, kw_only=True):
    """A queue with its settings and what else is counted of it."""

    tenant_id: int
    paused_until: datetime | None
    submitted: int
    refunds: int
    refunded_credits: int
    crashed: int
    fenced: int


LEVELS = ("NORMAL", "WARNING", "CRITICAL")

Counts = dict[int, dict[int, int]]


def listing(
    tenant_id: int | None = None, *, name: str | None = None, busy: bool = False
) -> list[QueueView]:
    """All queues (of a tenant; of this name) in their order.

    `busy`: of other tenants' queues only those that hold something, are paused or under pressure.
    """
    rows = postgres.query(
        "SELECT q.id, q.name, tenant_id, weight, capacity, concurrency, level, paused OR tenant_paused,"
        " coalesce(t.paused_reason, q.paused_reason), tenant_paused, paused_until"
        " FROM queue q LEFT JOIN tenant t ON tenant_paused AND t.id = tenant_id"
        " WHERE NOT removed AND (%(tenant)s::int IS NULL OR tenant_id = %(tenant)s)"
        " AND (%(name)s::text IS NULL OR q.name = %(name)s)"
        " AND (NOT %(busy)s OR base_id IS NULL OR paused OR tenant_paused OR level > 0 OR q.id IN"
        "   (SELECT queue_id FROM queue_stat WHERE metric IN (1, 2, 3, 4, 5, 7) AND n > 0)) ORDER BY q.id",
        {"tenant": tenant_id, "name": name, "busy": busy},
    )
    counted, ages = counts(), _oldest_s()
    return [_view(row, counted.get(row[0], {}), ages.get(row[0], 0.0)) for row in rows]


def get(name: str, tenant_id: int | None = None) -> QueueView | None:
    """One queue by name, None if there is none."""
    return next(iter(listing(tenant_id, name=name)), None)


def totals() -> dict[int, int]:
    """Metric → number over all queues."""
    summed: Counter[int] = Counter()
    for numbers in counts().values():
        summed.update(numbers)
    return summed


def stats(tenant_id: int | None = None) -> dict[str, QueueStats]:
    """The guide's statistics by queue name."""
    names = QueueStats.__struct_fields__
    return {
        q.queue: QueueStats(**{name: getattr(q, name) for name in names})
        for q in listing(tenant_id)
    }


def counts() -> Counts:
    """Queue id → metric → number: the folded counters and what was appended since the last fold."""
    rows = postgres.query(
        "SELECT queue_id, metric, least(sum(n), 9223372036854775807)::bigint FROM"
        " (SELECT queue_id, metric, n FROM queue_stat UNION ALL SELECT queue_id, metric, n FROM stat_delta) x"
        " GROUP BY queue_id, metric"
    )
    found: Counts = {}
    for queue_id, metric, n in rows:
        found.setdefault(queue_id, {})[metric] = max(n, 0)
    return found


def total(queue: str | None, state: str | None, tenant_id: int = catalog.DEFAULT_TENANT) -> int:
    """How many tasks of a tenant are in a queue and state. Raises UnknownQueue, KeyError for a state that is none."""
    wanted = [int(state_from_wire(state))] if state else [int(s) for s in State]
    known = catalog.queues()
    shared = known.dead_letter_id
    asked = known.own(tenant_id, queue).id if queue else None
    own = {r.id for r in known.rows if r.tenant_id == tenant_id and asked in (None, r.id)}
    found = sum(c.get(m, 0) for q, c in counts().items() if q in own - {shared} for m in wanted)
    if State.ARCHIVED not in wanted:
        return found
    return found + _dead_letters(shared, tenant_id, None if asked == shared else asked)


def put_aside(queue: str | None, tenant_id: int = catalog.DEFAULT_TENANT) -> int:
    """How many archived tasks of a tenant are no dead letters, by the counters. Raises UnknownQueue."""
    known = catalog.queues()
    asked = known.own(tenant_id, queue).id if queue else None
    own = {r.id for r in known.rows if r.tenant_id == tenant_id and asked in (None, r.id)}
    counted = counts()
    return sum(counted.get(q, {}).get(State.ARCHIVED, 0) for q in own - {known.dead_letter_id})


def _dead_letters(shared: int, tenant_id: int, origin: int | None) -> int:
    """A tenant's dead letters (from one queue): by the counters if it is alone, else counted one by one."""
    alone = origin is None and len({row.tenant_id for row in catalog.queues().rows}) == 1
    if alone:
        return counts().get(shared, {}).get(State.ARCHIVED, 0)
    rows = postgres.query(
        "SELECT count(*) FROM (SELECT 1 FROM task WHERE state = 5 AND queue_id = %(shared)s"
        " AND tenant_id = %(tenant)s AND (%(origin)s::int IS NULL OR origin_id = %(origin)s) LIMIT %(most)s) x",
        {"shared": shared, "tenant": tenant_id, "origin": origin, "most": _ARCHIVED_SEEN},
    )
    return int(rows[0][0])


def _oldest_s() -> dict[int, float]:
    """Queue id → age of its oldest pending task; some index probes per queue that has any."""
    rows = postgres.fetch("queue_oldest")
    return {row[0]: round(row[1], 3) for row in rows}


def _view(row: postgres.Row, n: dict[int, int], oldest_s: float) -> QueueView:
    (
        _,
        name,
        tenant_id,
        weight,
        capacity,
        concurrency,
        level,
        paused,
        reason,
        tenant_paused,
        until,
    ) = row
    by_state = {state.wire: n.get(state, 0) for state in State}
    waiting = ("pending", "active", "scheduled", "retry")
    return QueueView(
        queue=name,
        size=sum(by_state[name] for name in waiting),
        **by_state,
        paused=paused,
        paused_reason=reason,
        tenant_paused=tenant_paused,
        paused_until=until,
        tenant_id=tenant_id,
        weight=weight,
        capacity=capacity,
        concurrency=concurrency,
        utilization=round(by_state["pending"] / capacity, 4) if capacity else 0.0,
        backpressure_state=LEVELS[level],
        oldest_pending_s=oldest_s,
        processed=n.get(metrics.PROCESSED, 0),
        failed=n.get(metrics.FAILED, 0),
        submitted=n.get(metrics.SUBMITTED, 0),
        refunds=n.get(metrics.REFUNDS, 0),
        refunded_credits=n.get(metrics.REFUNDED_CREDITS, 0),
        crashed=n.get(metrics.CRASHED, 0),
        fenced=n.get(metrics.FENCED, 0),
    )
