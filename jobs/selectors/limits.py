"""The limit that a task is under, and how full it is."""

from dataclasses import dataclass
from uuid import UUID

from jobs.domain.limits import rate_text
from jobs.store import postgres


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """`running` tasks of the key have a place, of `most`; `rate` as `100/m`. None: it has no such limit.

    `waits`: this task stands in the key's line.
    """

    key: str
    running: int
    most: int | None
    rate: str | None
    waits: bool


def standing(task_id: UUID) -> Standing | None:
    """None for a task without a limit, or whose limit is forgotten."""
    rows = postgres.query(
        "SELECT l.key, l.concurrency, l.starts, l.per_s, (SELECT count(*) FROM task x WHERE x.limit_id = l.id"
        "  AND (x.state IN (1, 2) OR (x.state IN (3, 4) AND x.runs > 0 AND x.flags & 2 > 0))),"
        " t.state = 7 AND t.flags & 128 > 0"
        " FROM task t JOIN task_limit l ON l.id = t.limit_id"
        " WHERE t.id = %s",
        [task_id],
    )
    if not rows:
        return None
    key, most, starts, per_s, running, waits = rows[0]
    rate = None if starts is None else rate_text(starts, per_s)
    return Standing(key=key, running=running, most=most, rate=rate, waits=waits)
