"""What a worker remembers of how its platforms answered."""

import pytest

from jobs.builtin.platform_pace import BOUNDS_S, Pace
from jobs.operations.breakers import Heard


@pytest.mark.req("V-08")
def test_requests_are_counted_by_answer_and_polls_by_time_and_forgotten_after_the_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    pace = Pace()
    for poll_s in (0.05, 0.1, 0.3, 99.0):
        pace.note(7, Heard.GOOD, poll_s=poll_s)
    now_s += 600
    pace.note(7, Heard.REFUSED)
    pace.note(7, Heard.NOTHING)
    told = pace.told()["7"]
    assert (told["good"], told["refused"], told["nothing"]) == (4, 1, 1)
    assert told["polls_s"] == [2, 0, 1, *[0] * (len(BOUNDS_S) - 3), 1]
    now_s += 600
    assert (pace.told()["7"]["good"], pace.told()["7"]["nothing"]) == (0, 1)
    now_s += 600
    assert pace.told() == {}


@pytest.mark.req("V-08")
def test_its_memory_is_bounded() -> None:
    pace = Pace()
    for platform_id in range(500):
        pace.note(platform_id, Heard.GOOD)
    pace.note(499, Heard.GOOD)
    assert len(pace.told()) == 200
    assert pace.told()["499"]["good"] == 2
