"""The request rate: how many go at once, who waits for how long, and what a storm comes to."""

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.lifecycle.rate import BURST_S, PROMISE_S, Gate, take


@pytest.mark.req("R-07")
def test_after_a_rest_half_a_seconds_worth_goes_at_once_and_the_others_get_their_own_times() -> (
    None
):
    gate, taken = take(Gate(), 8, 10.0, 1000.0)
    assert taken.allowed == 5
    assert taken.waits_s == pytest.approx([0.1, 0.2, 0.3])
    _, again = take(gate, 1, 10.0, 1000.0)
    assert again.allowed == 0
    assert again.waits_s == pytest.approx([0.4])


@pytest.mark.req("R-07")
def test_a_slow_rate_still_lets_one_go() -> None:
    gate, taken = take(Gate(), 1, 0.2, 1000.0)
    assert taken.allowed == 1
    assert take(gate, 1, 0.2, 1004.9)[1].allowed == 0
    assert take(gate, 1, 0.2, 1005.1)[1].allowed == 1


@pytest.mark.req("R-07")
def test_of_5000_that_come_at_once_no_second_sees_more_than_twice_the_rate() -> None:
    rate, gate = 100.0, Gate()
    due = [(1000.0, n) for n in range(5000)]
    sent: list[float] = []
    asked = 0
    while due:
        now_s, _ = due[0]
        batch = [heapq.heappop(due)[1] for _ in range(min(200, len(due))) if due[0][0] <= now_s]
        asked += len(batch)
        gate, taken = take(gate, len(batch), rate, now_s)
        sent += [now_s] * taken.allowed
        for n, wait_s in zip(batch[taken.allowed :], taken.waits_s, strict=True):
            heapq.heappush(due, (now_s + wait_s, n))
    assert len(sent) == 5000
    assert max(sum(1 for at in sent if s <= at < s + 1) for s in set(sent)) <= 2 * rate
    assert asked < 12_000  # nobody asks again and again


@given(
    st.floats(min_value=0.05, max_value=500),
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 200)), max_size=40),
)
@pytest.mark.req("R-07")
def test_the_rate_holds_over_any_stretch_of_time(
    rate: float, asks: list[tuple[float, int]]
) -> None:
    gate, now_s, sent = Gate(), 1000.0, 0
    for step_s, wanted in asks:
        now_s += step_s
        gate, taken = take(gate, wanted, rate, now_s)
        sent += taken.allowed
        assert taken.allowed + len(taken.waits_s) == wanted
        assert all(0 <= wait_s <= PROMISE_S + 1e-6 for wait_s in taken.waits_s)
    assert sent <= (now_s - 1000.0) * rate + max(1.0, rate * BURST_S) + 1
