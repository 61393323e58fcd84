"""How a platform answers now, by what living workers tell with their beats, and our tasks over there by status."""

from collections.abc import Sequence
from typing import Any

import msgspec

from jobs.domain.states import Status
from jobs.store import postgres

MOST_TASKS = 20_000
_NOBODY: dict[str, Any] = {"window_s": 0.0, "bounds_s": []}


class Slow(msgspec.Struct, frozen=True, kw_only=True):
    """A share of the polls took at most `s` seconds; None: longer than the last bound."""

    percent: int
    s: float | None


class PaceView(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of the last `window_s` seconds. `refused`: 429, 401 and the like; `failed`: nothing usable came.

    Those that we kept here (an address that may not be called) count as failed.
    """

    window_s: float
    workers: int
    requests: int
    refused: int
    failed: int
    polls: int
    mean_s: float | None
    slow: list[Slow]

    @property
    def errors_percent(self) -> float | None:
        bad = self.refused + self.failed
        return round(100.0 * bad / self.requests, 1) if self.requests else None


class StatusCount(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    count: int


def pace(platform_id: int) -> PaceView:
    """Summed over all workers that live."""
    rows = postgres.query(
        "SELECT (stats -> 'platforms' -> %s)::text, (stats -> 'pace')::text FROM worker"
        " WHERE dead_at IS NULL AND stats -> 'platforms' -> %s IS NOT NULL ORDER BY id LIMIT 1000",
        [str(platform_id), str(platform_id)],
    )
    told = [msgspec.json.decode(row[0]) for row in rows]
    how: dict[str, Any] = msgspec.json.decode(rows[-1][1]) if rows else _NOBODY
    good, refused, nothing, kept = (
        sum(t.get(name, 0) for t in told) for name in ("good", "refused", "nothing", "kept")
    )
    failed = nothing + kept
    counts = [sum(column) for column in zip(*(t["polls_s"] for t in told), strict=False)]
    polls = sum(counts)
    return PaceView(
        window_s=how["window_s"],
        workers=len(told),
        requests=good + refused + failed,
        refused=refused,
        failed=failed,
        polls=polls,
        mean_s=round(sum(t["total_s"] for t in told) / polls, 3) if polls else None,
        slow=[_within(counts, how["bounds_s"], percent) for percent in (50, 95, 99)]
        if polls
        else [],
    )


def _within(counts: Sequence[int], bounds_s: Sequence[float], percent: int) -> Slow:
    seen, wanted = 0, sum(counts) * percent / 100
    for count, bound_s in zip(counts, bounds_s, strict=False):
        seen += count
        if seen >= wanted:
            return Slow(percent=percent, s=bound_s)
    return Slow(percent=percent, s=None)


def statuses(platform_id: int) -> list[StatusCount]:
    """Tasks that were submitted over there and have not ended, by status; of the first 20,000."""
    rows = postgres.query(
        "SELECT t.status, count(*) FROM (SELECT task_id FROM platform_task WHERE platform_id = %s"
        " AND submit_started_at IS NOT NULL AND ended_at IS NULL LIMIT %s) p"
        " JOIN task t ON t.id = p.task_id GROUP BY 1 ORDER BY 1",
        [platform_id, MOST_TASKS],
    )
    return [StatusCount(status=Status(status).wire, count=count) for status, count in rows]
