"""One platform's share of a batch: who is asked, how outcomes are reported."""

from collections.abc import Callable
from dataclasses import dataclass

from jobs.domain.outcomes import Outcome
from jobs.operations.platforms import PlatformSettings
from jobs.operations.polls import Pair
from jobs.platforms import base

Report = Callable[[Outcome], None]
Quiet = Callable[[str], None]


def nobody(_task_id: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """`closed`: both breakers are; otherwise a task may send one request and no more.

    `taken_s`: the tasks are not claimed, but were taken at this moment of the monotonic clock, their next polls
    settled: only news is reported. `quiet` hears of those that were answered without news.
    """

    settings: PlatformSettings
    adapter: base.Adapter
    report: Report
    closed: bool
    taken_s: float | None = None
    quiet: Quiet = nobody


__all__ = ["Pair", "Quiet", "Report", "Walk", "nobody"]
