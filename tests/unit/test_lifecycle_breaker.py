"""The breaker: its contract case by case, then under any sequence of calls."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from jobs.lifecycle import breaker
from jobs.lifecycle.breaker import Breaker, BreakerState, allow, record

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def _opened(now_s: float = 0) -> Breaker:
    b = Breaker()
    for _ in range(5):
        b = record(b, False, now_s)
    assert b.state is OPEN
    return b


@pytest.mark.req("E-05")
def test_five_failures_in_a_row_open_it_and_a_success_breaks_the_row() -> None:
    b = Breaker()
    for ok in (False, False, False, False, True, False, False, False, False):
        b = record(b, ok, 0)
        assert b.state is CLOSED
    assert record(b, False, 0).state is OPEN


@pytest.mark.req("E-05")
def test_a_probe_that_was_not_sent_is_given_back_in_its_own_window_only() -> None:
    b = _opened(now_s=0)
    for _ in range(3):
        b, _ = allow(b, 30)
    assert allow(b, 31)[1] is False
    assert allow(breaker.give_back(b, 1, started_at_s=30), 31)[1] is True
    assert allow(breaker.give_back(b, 1, started_at_s=29), 31)[1] is False
    used = record(b, True, 31)
    assert breaker.give_back(used, 3, started_at_s=30).probes == 1
    assert breaker.give_back(Breaker(), 1, started_at_s=0) == Breaker()


@pytest.mark.req("E-05")
def test_it_refuses_for_30_seconds_then_lets_exactly_3_probes_through() -> None:
    b = _opened(now_s=100)
    assert allow(b, 129.9)[1] is False
    answers = []
    for _ in range(6):
        b, allowed = allow(b, 130)
        answers.append(allowed)
    assert answers == [True, True, True, False, False, False]
    assert b.state is HALF_OPEN


@pytest.mark.req("E-05")
def test_two_probes_that_succeed_close_it_and_one_that_fails_opens_it_again() -> None:
    half = _opened()
    for _ in range(3):
        half, _allowed = allow(half, 30)
    once = record(half, True, 31)
    assert once.state is HALF_OPEN
    assert record(once, True, 32) == Breaker()
    failed = record(once, False, 32)
    assert (failed.state, failed.opened_at_s) == (OPEN, 32)
    assert allow(failed, 61)[1] is False and allow(failed, 62)[1] is True


@pytest.mark.req("E-05")
def test_what_started_before_the_window_is_no_probe() -> None:
    half, _allowed = allow(_opened(), 30)
    assert record(half, True, 31, started_at_s=1).successes == 0
    assert record(half, False, 31, started_at_s=1).state is HALF_OPEN
    unasked = breaker.release(breaker.force(Breaker(), OPEN, 0), 40)
    assert record(unasked, True, 41) == unasked, "nobody was let through, so nobody succeeded"


@pytest.mark.req("E-05")
def test_probes_that_never_come_back_are_replaced() -> None:
    b = _opened()
    for _ in range(3):
        b, _allowed = allow(b, 30)
    assert allow(b, 89)[1] is False
    assert breaker.wait_s(b, 80) == 10
    assert allow(b, 90)[1] is True


@pytest.mark.req("E-05")
def test_an_operator_holds_it_open_or_closed_until_the_force_ends() -> None:
    held = breaker.force(Breaker(), OPEN, 0, until_s=100)
    assert allow(held, 99)[1] is False
    assert record(held, True, 50) == held
    probing, allowed = allow(held, 100)
    assert (allowed, probing.state, probing.forced) == (True, HALF_OPEN, None)
    closed = breaker.force(_opened(), CLOSED, 0)
    for _ in range(9):
        closed = record(closed, False, 1)
    assert allow(closed, 1)[1] is True
    assert breaker.release(closed, 2) == Breaker()
    with pytest.raises(ValueError, match="OPEN or CLOSED"):
        breaker.force(Breaker(), HALF_OPEN, 0)


@pytest.mark.req("E-05")
def test_the_log_lines_are_the_guides() -> None:
    opened = _opened()
    half, _allowed = allow(opened, 30)
    line = breaker.log_line
    assert (
        line("service_1", Breaker(), opened)
        == "[CircuitBreaker] service_1: CLOSED -> OPEN (failures=5)"
    )
    assert line("service_1", opened, half) == "[CircuitBreaker] service_1: OPEN -> HALF_OPEN"
    assert line("service_1", half, Breaker()) == "[CircuitBreaker] service_1: HALF_OPEN -> CLOSED"
    assert line("service_1", half, half) is None


@pytest.mark.req("E-05")
def test_it_says_how_long_to_wait() -> None:
    assert breaker.wait_s(Breaker(), 5) == 0
    assert breaker.wait_s(_opened(), 12) == 18
    assert breaker.wait_s(_opened(), 30) == 0


class AnySequence(RuleBasedStateMachine):
    """Any calls at any time: the promises counted from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.b = Breaker()
        self.now_s = 0.0
        self.row = 0
        self.probes: Counter[float | None] = Counter()

    @rule(step_s=st.sampled_from([0.0, 0.1, 5.0, 29.0, 30.0, 61.0]))
    def time_passes(self, step_s: float) -> None:
        self.now_s += step_s

    @rule()
    def ask(self) -> None:
        before = self.b
        self.b, allowed = allow(before, self.now_s)
        if self.b.state is OPEN:
            assert not allowed
        if self.b.state is CLOSED:
            assert allowed
        if allowed and self.b.state is HALF_OPEN:
            self.probes[self.b.opened_at_s] += 1

    @rule(ok=st.booleans())
    def answer(self, ok: bool) -> None:
        before = self.b
        self.b = record(before, ok, self.now_s)
        self.row = 0 if ok or before.state is not CLOSED else self.row + 1
        if before.state is CLOSED:
            assert (self.b.state is OPEN) is (self.row >= 5)
        if self.b.state is not before.state:
            self.row = 0
            assert (before.state, self.b.state) != (OPEN, CLOSED), "never closes without probes"

    @precondition(lambda self: self.b.state is HALF_OPEN)
    @rule()
    def two_successes_close(self) -> None:
        wanted = self.b.probes - self.b.successes
        b = self.b
        for _ in range(wanted):
            b = record(b, True, self.b.opened_at_s or 0.0)
        if self.b.successes + wanted >= 2:
            assert b.state is CLOSED

    @invariant()
    def never_more_than_three_probes_in_a_window(self) -> None:
        assert 0 <= self.b.probes <= 3
        assert self.b.successes < 2
        assert max(self.probes.values(), default=0) <= 3
        windows_s = sorted(at for at in self.probes if at is not None)
        assert all(later - earlier >= 30 for earlier, later in pairwise(windows_s))

    @invariant()
    def the_value_fits_its_state(self) -> None:
        assert (self.b.opened_at_s is None) is (self.b.state is CLOSED)
        assert self.b.failures <= 5


TestAnySequence = pytest.mark.req("E-05")(AnySequence.TestCase)
