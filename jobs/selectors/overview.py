"""The first page: totals, rates, top errors, alerts."""

from datetime import datetime

import msgspec

from jobs.domain.states import State
from jobs.selectors import alerts, health, queues, rates
from jobs.selectors.alerts import Firing
from jobs.selectors.health import Health
from jobs.selectors.rates import Rate
from jobs.store import metrics, postgres

_ERRORS_SEEN = 1000


class TopError(msgspec.Struct, frozen=True, kw_only=True):
    """Failed runs of the last hour with the same first line."""

    error: str
    count: int
    last_at: datetime


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    minute: Rate
    hour: Rate


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """`totals`: tasks per state, `size`, `processed`, `failed`, over all queues."""

    health: Health
    totals: dict[str, int]
    rates: Rates
    top_errors: list[TopError]
    alerts: list[Firing]


def overview(tenant_id: int | None = None) -> Overview:
    """Figures of the whole house; words of errors, and alerts, of the default tenant alone, None: of all."""
    seen = queues.totals()
    minute, hour = rates.over([60.0, 3600.0], seen)
    return Overview(
        health=health.check(),
        totals=_totals(seen),
        rates=Rates(minute=minute, hour=hour),
        top_errors=top_errors(tenant_id),
        alerts=alerts.firing(house=tenant_id is not None),
    )


def top_errors(tenant_id: int | None = None, limit: int = 10) -> list[TopError]:
    """Of the last failed runs of the hour (at most a thousand), by first line."""
    own = (
        ""
        if tenant_id is None
        else " AND EXISTS (SELECT 1 FROM task t WHERE t.id = r.task_id AND t.tenant_id = %(tenant)s)"
    )
    rows = postgres.query(
        "SELECT left(split_part(error, E'\\n', 1), 300) AS line, count(*), max(ended_at) FROM ("
        " SELECT error, ended_at FROM task_run r WHERE ended_at > (SELECT clock_timestamp()) - interval '1 hour'"
        f" AND error IS NOT NULL{own} ORDER BY ended_at DESC LIMIT %(seen)s) x"
        " GROUP BY line ORDER BY 2 DESC, 3 DESC LIMIT %(limit)s",
        {"tenant": tenant_id, "seen": _ERRORS_SEEN, "limit": limit},
    )
    return [TopError(error=line, count=count, last_at=last_at) for line, count, last_at in rows]


def _totals(seen: dict[int, int]) -> dict[str, int]:
    by_state = {state.wire: seen.get(state, 0) for state in State}
    return {
        **by_state,
        "size": sum(by_state[name] for name in ("pending", "active", "scheduled", "retry")),
        "processed": seen.get(metrics.PROCESSED, 0),
        "failed": seen.get(metrics.FAILED, 0),
        "submitted": seen.get(metrics.SUBMITTED, 0),
    }
