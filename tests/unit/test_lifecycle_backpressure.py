"""Back-pressure levels: in at once, out after five seconds below the lower mark."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.lifecycle.backpressure import Level, Pressure, entered, log_line, step, utilisation


def _levels(used: list[float], seconds_apart: float = 1) -> list[Level]:
    pressure, levels = Pressure(), []
    for i, one in enumerate(used):
        pressure = step(pressure, one, now_s=i * seconds_apart)
        levels.append(pressure.level)
    return levels


@pytest.mark.req("B-01")
@pytest.mark.parametrize(
    ("used", "level"),
    [
        (0, Level.NORMAL),
        (0.699, Level.NORMAL),
        (0.7, Level.WARNING),
        (0.899, Level.WARNING),
        (0.9, Level.CRITICAL),
        (7, Level.CRITICAL),
    ],
)
def test_a_level_is_entered_at_once(used: float, level: Level) -> None:
    assert _levels([used]) == [level]
    assert entered(Level.NORMAL, used) is level
    assert entered(Level.CRITICAL, used) is Level.CRITICAL


@pytest.mark.req("B-01")
def test_critical_is_left_after_five_seconds_below_eighty_percent() -> None:
    assert _levels([0.9, *[0.8] * 20])[-1] is Level.CRITICAL, "80 % is not below 80 %"
    _n, w, c = Level
    assert _levels([0.95, *[0.7] * 7]) == [c, c, c, c, c, c, w, w]
    assert _levels([0.95, 0.7, 0.7, 0.85, *[0.7] * 6]) == [c] * 9 + [w]


@pytest.mark.req("B-01")
def test_warning_is_left_after_five_seconds_below_sixty_percent_one_level_at_a_time() -> None:
    n, w, c = Level
    assert _levels([0.75, *[0.65] * 20])[-1] is w
    assert _levels([0.75, *[0.5] * 6]) == [w] * 6 + [n]
    assert _levels([0.95, *[0.1] * 13]) == [c] * 6 + [w] * 6 + [n, n]


@pytest.mark.req("B-01")
@given(st.lists(st.floats(0, 2), min_size=2, max_size=60))
def test_no_sequence_flaps_within_five_seconds(used: list[float]) -> None:
    levels = _levels(used, seconds_apart=0.5)
    falls = [i for i in range(1, len(levels)) if levels[i] < levels[i - 1]]
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(falls))
    assert all(level >= entered(Level.NORMAL, one) for level, one in zip(levels, used, strict=True))


@pytest.mark.req("B-01")
def test_a_queue_without_capacity_has_no_pressure() -> None:
    assert utilisation(10**9, None) == 0
    assert utilisation(90, 100) == 0.9
    assert utilisation(-3, 100) == 0


@pytest.mark.req("B-01")
def test_a_change_is_one_log_line() -> None:
    line = log_line("default", Level.NORMAL, Level.WARNING, 0.7234)
    assert line == "[Backpressure] default: NORMAL -> WARNING (utilization=0.72)"
    assert log_line("default", Level.WARNING, Level.WARNING, 0.8) is None
