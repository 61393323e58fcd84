"""How a run ends, ending by ending."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.domain.outcomes import Discard, Kind, Outcome, Poll, Retry, SkipRetry
from jobs.domain.states import State, Status
from jobs.domain.transitions import legal_pairs
from jobs.lifecycle.policy import RetryPolicy
from jobs.lifecycle.settlement import (
    Ending,
    Raised,
    Returned,
    RunFacts,
    Stopped,
    TimedOutAfter,
    decide,
)


def _run(retried: int = 0, **policy: object) -> RunFacts:
    return RunFacts(
        task_id="t",
        token=7,
        retried=retried,
        max_retries=3,
        charged=True,
        duration_s=1.5,
        policy=RetryPolicy(**policy),  # type: ignore[arg-type]
    )


def _where(outcome: Outcome) -> tuple[Kind, State, Status, bool]:
    return outcome.kind, outcome.state, outcome.status, outcome.to_dead_letter


SUCCESS = (Kind.SUCCEEDED, State.COMPLETED, Status.SUCCESS, False)
RETRIED = (Kind.RETRIED, State.RETRY, Status.IN_PROGRESS, False)
UNCOUNTED = (Kind.POSTPONED, State.RETRY, Status.IN_PROGRESS, False)
DEAD = (Kind.DEAD, State.ARCHIVED, Status.FAILURE, True)
CANCELLED = (Kind.CANCELLED, State.COMPLETED, Status.CANCELLED, False)


@pytest.mark.req("X-06", "Q-05")
def test_a_return_is_success_with_its_result() -> None:
    outcome = decide(_run(), Returned(result={"rows": 3}))
    assert _where(outcome) == SUCCESS
    assert outcome.result == {"rows": 3}
    assert (outcome.task_id, outcome.token, outcome.charged, outcome.duration_s) == (
        "t",
        7,
        True,
        1.5,
    )


@pytest.mark.req("X-06")
@pytest.mark.parametrize(
    "result", [object(), "\ud800", "a\x00b", {"k": "\x00"}, "x" * 70_000, b"\xff" * 70_000]
)
def test_a_result_that_no_row_can_hold_kills_the_task_not_the_worker(result: object) -> None:
    assert _where(decide(_run(), Returned(result=result))) == DEAD


@pytest.mark.req("X-06")
@pytest.mark.parametrize("result", [0, False, "", [], "a\\u0000b", "x" * 60_000])
def test_any_small_json_is_a_result(result: object) -> None:
    assert _where(decide(_run(), Returned(result=result))) == SUCCESS


@pytest.mark.req("R-01", "Q-05", "AC24")
def test_an_error_is_retried_three_times_then_the_task_is_dead() -> None:
    delays = []
    for retried in range(3):
        outcome = decide(_run(retried), Raised(error=ValueError("no")), jitter=0)
        assert _where(outcome) == RETRIED
        assert outcome.counts
        assert outcome.error == "ValueError: no"
        delays.append(outcome.delay_s)
    assert delays == [1, 2, 4]
    dead = decide(_run(3), Raised(error=ValueError("no")))
    assert _where(dead) == DEAD
    assert dead.fail_reason == "retries used up"


@pytest.mark.req("X-06", "Q-07", "AC25")
def test_skip_retry_bare_or_wrapped_goes_straight_to_the_dead_letters() -> None:
    wrapped = RuntimeError("outer")
    wrapped.__cause__ = SkipRetry("inner")
    grouped = ExceptionGroup("tasks", [SkipRetry("inner")])
    for error in (SkipRetry("x"), wrapped, grouped):
        outcome = decide(_run(), Raised(error=error))
        assert _where(outcome) == DEAD
    assert decide(_run(), Raised(error=SkipRetry("x"))).error == "SkipRetry: x"


@pytest.mark.req("X-06", "Q-05", "AC26")
def test_discard_and_a_stopped_run_end_quietly_as_cancelled() -> None:
    for ending in (Raised(error=Discard("not needed")), Stopped(reason="user asked")):
        outcome = decide(_run(), ending)
        assert _where(outcome) == CANCELLED
        assert outcome.error is None
    assert decide(_run(), Stopped()).fail_reason == "cancelled"


@pytest.mark.req("X-06")
def test_a_handler_asks_for_its_own_retry() -> None:
    asked = decide(_run(), Raised(error=Retry(12, reason="busy")))
    assert (_where(asked), asked.delay_s, asked.error) == (RETRIED, 12, "Retry: busy")
    assert decide(_run(), Raised(error=Retry()), jitter=0).delay_s == 1
    assert _where(decide(_run(3), Raised(error=Retry(12)))) == DEAD
    free = decide(_run(3), Raised(error=Retry(12, counts=False)))
    assert (_where(free), free.counts, free.delay_s) == (UNCOUNTED, False, 12)


@pytest.mark.req("X-06", "Q-05")
def test_a_handler_that_polls_is_scheduled_with_the_status_it_heard() -> None:
    outcome = decide(_run(3), Raised(error=Poll(Status.QUEUED, after_s=6, progress=140)))
    assert _where(outcome) == (Kind.POLLED, State.SCHEDULED, Status.QUEUED, False)
    assert (outcome.delay_s, outcome.progress, outcome.counts) == (6, 100, False)


@pytest.mark.req("Q-05")
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.SUCCESS, SUCCESS),
        (Status.CANCELLED, CANCELLED),
        (Status.FAILURE, (Kind.FAILED, State.COMPLETED, Status.FAILURE, False)),
        (Status.EMPTY, (Kind.FAILED, State.COMPLETED, Status.FAILURE, False)),
    ],
)
def test_a_poll_that_heard_an_end_is_the_end(
    status: Status, expected: tuple[Kind, State, Status, bool]
) -> None:
    assert _where(decide(_run(), Raised(error=Poll(status, after_s=1)))) == expected


@pytest.mark.req("R-02")
def test_an_error_that_is_not_retried_is_dead_at_once() -> None:
    outcome = decide(_run(never_retry_on=("ValueError",)), Raised(error=ValueError("bad input")))
    assert _where(outcome) == DEAD


@pytest.mark.req("R-01", "AC27")
def test_an_error_that_is_no_failure_is_retried_without_counting_for_ever() -> None:
    run = _run(3, is_failure=lambda error: not isinstance(error, ConnectionError))
    outcome = decide(run, Raised(error=ConnectionError("away")))
    assert (_where(outcome), outcome.counts, outcome.error) == (
        UNCOUNTED,
        False,
        "ConnectionError: away",
    )
    assert _where(decide(run, Raised(error=ValueError()))) == DEAD


@pytest.mark.req("X-03", "Q-05")
def test_a_timeout_is_retried_a_deadline_is_the_end_and_both_say_what_hit() -> None:
    timeout = decide(_run(), TimedOutAfter(after_s=0.5))
    assert _where(timeout) == RETRIED
    assert timeout.error == "TimedOut: the run was stopped by its timeout after 0.5 s"
    assert _where(decide(_run(3), TimedOutAfter(after_s=0.5))) == DEAD
    deadline = decide(_run(), TimedOutAfter(after_s=3600.25, deadline=True))
    assert _where(deadline) == DEAD
    assert "deadline" in (deadline.error or "") and "3600.25 s" in (deadline.error or "")


class _Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.req("X-05", "AC28")
def test_any_error_becomes_text_that_a_row_can_hold() -> None:
    long = decide(_run(), Raised(error=ValueError("x" * 9_000), traceback="y" * 9_000)).error or ""
    assert len(long) == 4_000 and long.startswith("ValueError: xxx")
    traced = (
        decide(_run(), Raised(error=ValueError("short"), traceback="y" * 9_000 + "END")).error or ""
    )
    assert (
        len(traced) == 4_000
        and traced.startswith("ValueError: short\n…y")
        and traced.endswith("END")
    )
    dirty = decide(_run(), Raised(error=ValueError("a\x00b\ud800"))).error or ""
    assert dirty == "ValueError: a\ufffdb?"
    assert (decide(_run(), Raised(error=_Unreadable())).error or "").startswith("_Unreadable: (")
    assert decide(_run(), Raised(error=KeyError())).error == "KeyError"


_ERRORS = st.sampled_from(
    [
        ValueError("v"),
        SkipRetry(),
        Discard(),
        Retry(float("nan")),
        Retry(-5, counts=False),
        Retry("soon"),  # type: ignore[arg-type]
        *(Poll(status, after_s=float("inf")) for status in Status),
    ]
)
_ENDINGS = st.one_of(
    st.builds(Returned, result=st.none() | st.text() | st.integers()),
    st.builds(Raised, error=_ERRORS, traceback=st.text(max_size=50)),
    st.builds(TimedOutAfter, after_s=st.floats(0, 1e6), deadline=st.booleans()),
    st.builds(Stopped, reason=st.text(max_size=20)),
)


@pytest.mark.req("Q-05")
@given(_ENDINGS, st.integers(0, 5), st.floats(0, 1, exclude_max=True))
def test_every_ending_rests_in_a_legal_pair_with_a_delay_the_database_takes(
    ending: Ending, retried: int, jitter: float
) -> None:
    outcome = decide(_run(retried), ending, jitter=jitter)
    assert (outcome.state, outcome.status) in set(legal_pairs())
    assert 0 <= outcome.delay_s <= 366 * 86_400
    assert outcome.to_dead_letter is (outcome.state is State.ARCHIVED)
