"""Polling sequences to the letter of the guide's appendix B."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.contract.reader import contract
from jobs.domain.outcomes import Kind, PlatformFacts
from jobs.domain.states import State, Status
from jobs.domain.transitions import legal_pairs
from jobs.lifecycle import polling
from jobs.lifecycle.polling import Decision, Step
from jobs.lifecycle.settlement import RunFacts

LONG = contract().profile("long")
RUN = RunFacts(task_id="t", token=4, retried=0, max_retries=0, charged=True, status=Status.QUEUED)


def _sequence(answers: list[Status], profile: str = "long", jitter: float = 0) -> list[Decision]:
    """What follows a row of answers, counters carried as a row would."""
    decisions: list[Decision] = []
    previous, polls, unknowns = None, 0, 0
    for answer in answers:
        decision = polling.next_poll(
            answer,
            previous=previous,
            polls_in_status=polls,
            unknowns=unknowns,
            profile=contract().profile(profile),
            jitter=jitter,
        )
        decisions.append(decision)
        previous, polls, unknowns = decision.status, decision.polls_in_status, decision.unknowns
    return decisions


def _delays(answers: list[Status], profile: str = "long") -> list[float]:
    return [decision.delay_s for decision in _sequence(answers, profile)]


@pytest.mark.req("R-04")
@pytest.mark.parametrize("profile", ["long", "medium", "short", "default"])
def test_the_delays_by_status_are_the_same_for_every_profile(profile: str) -> None:
    assert _delays([Status.IN_PROGRESS] * 4, profile) == [3, 3, 3, 3]
    assert _delays([Status.SUBMITTED] * 7, profile) == [3, 6, 12, 24, 30, 30, 30]
    assert _delays([Status.QUEUED] * 6, profile) == [3, 6, 12, 24, 30, 30]
    assert _delays([Status.UNKNOWN] * 2, profile) == [5, 10]


@pytest.mark.req("R-03", "R-04")
@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("long", [10, 20, 30, 30]),
        ("medium", [5, 10, 20, 20]),
        ("short", [3, 6, 12, 15]),
        ("default", [10, 20, 30, 30]),
    ],
)
def test_not_start_and_contact_errors_go_by_the_profile(
    profile: str, expected: list[float]
) -> None:
    assert _delays([Status.NOT_START] * 4, profile) == expected
    errors = [
        polling.after_contact_error(
            Status.QUEUED, contact_errors=n, profile=contract().profile(profile), jitter=0
        )
        for n in range(4)
    ]
    assert [one.delay_s for one in errors] == expected
    assert [one.contact_errors for one in errors] == [1, 2, 3, 4]


@pytest.mark.req("R-04")
def test_the_sequence_restarts_when_the_status_changes() -> None:
    answers = [Status.SUBMITTED, Status.SUBMITTED, Status.QUEUED, Status.QUEUED, Status.IN_PROGRESS]
    assert _delays([*answers, Status.QUEUED]) == [3, 6, 3, 6, 3, 3]


@pytest.mark.req("R-04")
def test_the_third_unknown_in_a_row_fails_and_any_other_answer_breaks_the_row() -> None:
    last = _sequence([Status.UNKNOWN] * 3)[-1]
    assert (last.step, last.state, last.status) == (Step.FAIL, State.COMPLETED, Status.FAILURE)
    broken = _sequence(
        [Status.UNKNOWN, Status.UNKNOWN, Status.QUEUED, Status.UNKNOWN, Status.UNKNOWN]
    )
    assert [one.delay_s for one in broken] == [5, 10, 3, 5, 10]


@pytest.mark.req("R-04")
@pytest.mark.parametrize(
    ("answer", "step", "status"),
    [
        (Status.SUCCESS, Step.SUCCEED, Status.SUCCESS),
        (Status.FAILURE, Step.FAIL, Status.FAILURE),
        (Status.EMPTY, Step.FAIL, Status.FAILURE),
        (Status.CANCELLED, Step.CANCEL, Status.CANCELLED),
    ],
)
def test_an_end_leaves_at_once(answer: Status, step: Step, status: Status) -> None:
    [end] = _sequence([answer])
    assert (end.step, end.state, end.status, end.delay_s) == (step, State.COMPLETED, status, 0)


@pytest.mark.req("R-04")
def test_a_platform_may_declare_its_own_first_and_last_delay_for_the_queued() -> None:
    def delay_s(status: Status, n: int) -> float:
        return polling.next_poll(
            status, polls_in_status=n, unknowns=0, profile=LONG, jitter=0, first_last_s=(20, 60)
        ).delay_s

    assert [delay_s(Status.QUEUED, n) for n in range(4)] == [20, 40, 60, 60]
    assert delay_s(Status.IN_PROGRESS, 3) == 3


@pytest.mark.req("R-04", "R-07")
@given(
    st.sampled_from(
        [Status.NOT_START, Status.SUBMITTED, Status.QUEUED, Status.IN_PROGRESS, Status.UNKNOWN]
    ),
    st.integers(0, 50),
    st.floats(0, 1, exclude_max=True),
)
def test_jitter_adds_up_to_a_tenth_and_never_shortens(
    status: Status, polls: int, jitter: float
) -> None:
    def delay_s(chance: float) -> float:
        return polling.next_poll(
            status, polls_in_status=polls, unknowns=0, profile=LONG, jitter=chance
        ).delay_s

    assert delay_s(0) <= delay_s(jitter) <= delay_s(0) * 1.1


@pytest.mark.req("R-04")
@pytest.mark.parametrize("left_s", [0.0, -5.0])
def test_past_the_time_limit_the_last_poll_expires_the_task_whatever_it_heard(
    left_s: float,
) -> None:
    for status in (Status.IN_PROGRESS, Status.NOT_START, Status.UNKNOWN):
        end = polling.next_poll(
            status, polls_in_status=0, unknowns=0, profile=LONG, jitter=0, left_s=left_s
        )
        assert (end.step, end.status) == (Step.EXPIRE, Status.FAILURE)
    error = polling.after_contact_error(
        Status.QUEUED, contact_errors=0, profile=LONG, jitter=0, left_s=left_s
    )
    assert error.step is Step.EXPIRE
    saved = polling.next_poll(
        Status.SUCCESS, polls_in_status=0, unknowns=0, profile=LONG, jitter=0, left_s=left_s
    )
    assert saved.step is Step.SUCCEED, "a success heard by the last poll counts"


@pytest.mark.req("R-04")
def test_the_next_poll_is_never_set_beyond_the_time_limit() -> None:
    near = polling.next_poll(
        Status.QUEUED, polls_in_status=4, unknowns=0, profile=LONG, jitter=0.9, left_s=7
    )
    assert near.delay_s == 7


@pytest.mark.req("R-05")
def test_a_contact_error_is_no_answer_about_the_task() -> None:
    error = polling.after_contact_error(
        Status.QUEUED, contact_errors=7, profile=LONG, jitter=0, polls_in_status=3, unknowns=1
    )
    assert (error.step, error.state, error.status) == (Step.CONTACT, State.RETRY, Status.QUEUED)
    assert (error.polls_in_status, error.unknowns, error.contact_errors) == (3, 1, 8)
    answered = _sequence([Status.QUEUED])[0]
    assert answered.contact_errors == 0


@pytest.mark.req("R-03")
def test_the_120th_contact_error_in_a_row_parks_the_task_until_its_time_limit() -> None:
    before, parked = (
        polling.after_contact_error(
            Status.QUEUED, contact_errors=n, profile=LONG, jitter=0, left_s=1_000
        )
        for n in (118, 119)
    )
    assert (before.step, before.delay_s) == (Step.CONTACT, 30)
    assert (parked.step, parked.state, parked.delay_s) == (Step.PARK, State.RETRY, 1_000)
    assert parked.status is Status.QUEUED


@pytest.mark.req("R-05")
@pytest.mark.parametrize(("wish_s", "delay_s"), [(2, 10), (50, 50), (None, 10), (float("nan"), 10)])
def test_retry_after_only_lengthens(wish_s: float | None, delay_s: float) -> None:
    error = polling.after_contact_error(
        Status.QUEUED, contact_errors=0, profile=LONG, jitter=0, retry_after_s=wish_s
    )
    assert error.delay_s == delay_s


@pytest.mark.req("R-05")
def test_a_word_nobody_knows_keeps_the_status_and_its_counters() -> None:
    decision = polling.after_unrecognised(
        Status.QUEUED, polls_in_status=2, unknowns=0, profile=LONG, jitter=0
    )
    assert (decision.step, decision.status, decision.delay_s) == (Step.POLL, Status.QUEUED, 12)
    assert decision.polls_in_status == 2
    for n in range(5):
        unknown = polling.after_unrecognised(
            Status.UNKNOWN, polls_in_status=n, unknowns=2, profile=LONG, jitter=0
        )
        assert (unknown.step, unknown.unknowns) == (Step.POLL, 2)


@pytest.mark.req("R-03", "R-07")
def test_an_open_breaker_counts_nothing_and_spreads_what_waited() -> None:
    delays = []
    for jitter in (0.0, 0.5, 0.99):
        one = polling.postponed(
            Status.QUEUED, wait_s=12, profile=LONG, jitter=jitter, contact_errors=119, unknowns=2
        )
        assert (one.step, one.state, one.contact_errors, one.unknowns) == (
            Step.POSTPONE,
            State.SCHEDULED,
            119,
            2,
        )
        delays.append(one.delay_s)
    assert delays == [12, 27, pytest.approx(41.7)]


@pytest.mark.req("Q-05", "R-04")
def test_a_decision_becomes_an_outcome_that_counts_as_no_retry_and_carries_the_facts() -> None:
    facts = PlatformFacts(external_id="x", polls=1)
    [decision] = _sequence([Status.QUEUED])
    polled = polling.settle(RUN, decision, platform=facts, progress=40)
    assert (polled.kind, polled.state, polled.status) == (
        Kind.POLLED,
        State.SCHEDULED,
        Status.QUEUED,
    )
    assert (polled.token, polled.counts, polled.platform, polled.charged) == (4, False, facts, True)
    failed = polling.settle(RUN, _sequence([Status.FAILURE])[0], reason="NSFW")
    assert (failed.kind, failed.fail_reason, failed.to_dead_letter) == (Kind.FAILED, "NSFW", False)


@pytest.mark.req("Q-05")
def test_every_decision_rests_in_a_legal_pair() -> None:
    pairs = set(legal_pairs())
    for status, polls, unknowns, left_s in itertools.product(
        Status, (0, 9), (0, 2), (None, 0.0, 5.0)
    ):
        decision = polling.next_poll(
            status, polls_in_status=polls, unknowns=unknowns, profile=LONG, jitter=0, left_s=left_s
        )
        assert (decision.state, decision.status) in pairs
