"""Back-off, and which errors are retried."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.lifecycle.backoff import doubling_s, retry_delay_s
from jobs.lifecycle.policy import RetryPolicy, bounded_s, http_status

JITTER = st.floats(0, 1, exclude_max=True)


@pytest.mark.req("R-01")
def test_the_delays_double_from_one_second_to_three_hundred() -> None:
    lowest = [retry_delay_s(n, jitter=0) for n in range(11)]
    assert lowest == [1, 2, 4, 8, 16, 32, 64, 128, 150, 150, 150]
    assert retry_delay_s(0, jitter=0.5) == 1.5
    assert retry_delay_s(10**9, jitter=0.999) < 300


@pytest.mark.req("R-01")
@given(st.integers(0, 2_000), st.floats(0.001, 100), st.floats(0.001, 10_000), JITTER)
def test_no_delay_is_above_the_cap_or_below_half_of_it_and_the_base(
    retried: int, base_s: float, cap_s: float, jitter: float
) -> None:
    delay_s = retry_delay_s(retried, base_s=base_s, cap_s=cap_s, jitter=jitter)
    assert min(base_s, cap_s / 2) * 0.999 <= delay_s <= cap_s


class _Response:
    status_code = 503


class _HttpError(Exception):
    def __init__(self, status: int | None = None) -> None:
        super().__init__("http")
        if status is not None:
            self.status_code = status


class _Hostile(Exception):
    @property
    def response(self) -> object:
        raise RuntimeError("no request")


@pytest.mark.req("R-01")
def test_the_defaults_are_the_contracts() -> None:
    policy = RetryPolicy()
    assert (policy.max_retries, policy.base_s, policy.cap_s) == (3, 1.0, 300.0)
    assert policy.retries(ValueError()) and policy.fails(ValueError())


@pytest.mark.req("R-02")
def test_errors_are_chosen_by_class_by_name_and_by_base() -> None:
    policy = RetryPolicy(
        retry_on=("OSError", ValueError), never_retry_on=("builtins.FileNotFoundError",)
    )
    assert policy.retries(ConnectionError()) and policy.retries(UnicodeError())
    assert not policy.retries(KeyError())
    assert not policy.retries(FileNotFoundError())


@pytest.mark.req("R-02")
def test_an_error_with_an_http_status_is_retried_by_its_status() -> None:
    policy = RetryPolicy(http_statuses=frozenset({429, 503}))
    assert policy.retries(_HttpError(503)) and not policy.retries(_HttpError(400))
    assert policy.retries(_HttpError()), "without a status the other rules hold"
    carried = Exception()
    carried.response = _Response()  # type: ignore[attr-defined]
    assert http_status(carried) == 503
    assert http_status(_Hostile()) is None


@pytest.mark.req("R-01")
def test_a_policys_own_delay_is_used_and_a_broken_one_is_not() -> None:
    assert RetryPolicy(delay=lambda n, e: n * 7.0).delay_s(2, ValueError(), jitter=0) == 14
    for broken in (lambda n, e: 1 / 0, lambda n, e: float("nan"), lambda n, e: "soon"):
        assert RetryPolicy(delay=broken).delay_s(0, ValueError(), jitter=0) == 1  # type: ignore[arg-type]
    assert RetryPolicy(is_failure=lambda e: 1 / 0).fails(ValueError())  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("given_s", "expected_s"),
    [(None, 9), (float("nan"), 9), ("5", 9), (-1, 0), (float("inf"), 366 * 86_400), (2, 2)],
)
def test_a_delay_is_bounded(given_s: object, expected_s: float) -> None:
    assert bounded_s(given_s, 9) == expected_s


@pytest.mark.req("E-01", "T-01")
@pytest.mark.parametrize("step", [0, 1, 30, 10_000])
def test_no_first_delay_is_too_long_to_be_doubled(step: int) -> None:
    assert doubling_s(step, first_s=1.7e308, last_s=1.7e308) == 1.7e308
    assert doubling_s(step, first_s=5e-324, last_s=1.0) <= 1.0
