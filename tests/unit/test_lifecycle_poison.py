"""Only a solo crash convicts."""

import pytest

from jobs.lifecycle.poison import Verdict, after_crash, runs_solo


@pytest.mark.req("X-09")
@pytest.mark.parametrize(
    ("crashes", "seen_alone", "verdict"),
    [
        (1, False, Verdict.AGAIN),
        (2, False, Verdict.SOLO),
        (2, True, Verdict.SOLO),
        (3, False, Verdict.SOLO),
        (3, True, Verdict.DEAD),
        (5, False, Verdict.SOLO),
        (6, False, Verdict.DEAD),
    ],
)
def test_a_task_is_dead_at_three_crashes_seen_alone_or_at_six(
    crashes: int, seen_alone: bool, verdict: Verdict
) -> None:
    assert after_crash(crashes, seen_alone=seen_alone) is verdict
    assert runs_solo(crashes) is (crashes >= 2)
