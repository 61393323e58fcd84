"""What the last days brought, queue by queue or in all."""

from datetime import date

import msgspec

from jobs.domain.errors import Invalid
from jobs.store import catalog, postgres

MOST_DAYS = 90


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """One UTC day: runs that ended, and those of them that failed."""

    day: date
    processed: int
    failed: int


def history(days: int, queue: str | None = None) -> list[Day]:
    """The last `days` days, today first, with zeros where nothing happened. Raises Invalid, UnknownQueue.

    A day is as fresh as the last fold of the counters (a second).
    """
    if not 1 <= days <= MOST_DAYS:
        raise Invalid("A history has 1 to %(most_days)s days", most_days=MOST_DAYS, given=days)
    queue_id = catalog.queues().get(queue).id if queue is not None else None
    rows = postgres.query(
        "WITH t AS (SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date AS today)"
        " SELECT t.today - n, coalesce(sum(d.processed), 0)::bigint, coalesce(sum(d.failed), 0)::bigint"
        " FROM t, generate_series(0, %(days)s - 1) n LEFT JOIN queue_day d ON d.day ="
        "   (clock_timestamp() AT TIME ZONE 'UTC')::date - n AND (%(queue)s::int IS NULL OR d.queue_id = %(queue)s)"
        " GROUP BY 1 ORDER BY 1 DESC",
        {"days": days, "queue": queue_id},
    )
    return [Day(day=day, processed=processed, failed=failed) for day, processed, failed in rows]
