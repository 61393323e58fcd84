"""Back-pressure of a queue: in at once, out after a while, so that it does not flap."""

from dataclasses import dataclass, replace
from enum import IntEnum

from jobs.contract.reader import contract
from jobs.contract.shapes import BackpressureRules


class Level(IntEnum):
    """The number is `backpressure_state` in the metrics, the name what users read."""

    NORMAL = 0
    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Pressure:
    """A queue's level; `below_since_s`: since when utilisation is under the mark that leaves it."""

    level: Level = Level.NORMAL
    below_since_s: float | None = None


def utilisation(pending: int, capacity: int | None) -> float:
    """Pending tasks / capacity; 0 without a capacity."""
    return max(pending, 0) / capacity if capacity else 0.0


def entered(level: Level, used: float, rules: BackpressureRules | None = None) -> Level:
    """The level that `used` forces at once; never lower than `level` (a process' view in between)."""
    rules = rules or contract().backpressure
    if used >= rules.critical_in:
        return Level.CRITICAL
    return max(level, Level.WARNING) if used >= rules.warning_in else level


def step(
    before: Pressure, used: float, *, now_s: float, rules: BackpressureRules | None = None
) -> Pressure:
    """The next level; down by one level after `hold_s` below its lower mark."""
    rules = rules or contract().backpressure
    level = entered(before.level, used, rules)
    if level > before.level or level is Level.NORMAL:
        return Pressure(level=level)
    mark = rules.critical_out if level is Level.CRITICAL else rules.warning_out
    if used >= mark:
        return Pressure(level=level)
    since_s = now_s if before.below_since_s is None else before.below_since_s
    if now_s - since_s < rules.hold_s:
        return replace(before, below_since_s=since_s)
    return Pressure(level=Level(level - 1))


def log_line(queue: str, before: Level, after: Level, used: float) -> str | None:
    """The guide's line for a change of level, None when there was none."""
    if before is after:
        return None
    return f"[Backpressure] {queue}: {before.name} -> {after.name} (utilization={used:.2f})"
