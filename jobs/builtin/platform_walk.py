"""One platform's share of a batch: who is asked, how outcomes are reported."""

from collections.abc import Callable
from dataclasses import dataclass

from jobs.domain.outcomes import Outcome
from jobs.operations.platform_facts import PlatformFactsRow
from jobs.operations.platforms import PlatformSettings
from jobs.operations.runs import Run
from jobs.platforms import base

Pair = tuple[Run, PlatformFactsRow]
Report = Callable[[Outcome], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """`closed`: both breakers are; otherwise a task may send one request and no more."""

    settings: PlatformSettings
    adapter: base.Adapter
    report: Report
    closed: bool
