"""The helper that tests wait with."""

import pytest

from tests.support.wait import eventually


def test_waiting_ends_with_the_first_true_value() -> None:
    values = iter([0, "", "there"])
    assert eventually(lambda: next(values), 5) == "there"


def test_waiting_too_long_shows_the_last_failure() -> None:
    def never() -> bool:
        raise AssertionError("count is 3")

    with pytest.raises(AssertionError, match="count is 3"):
        eventually(never, 0.05)
    with pytest.raises(AssertionError, match="still False"):
        eventually(lambda: False, 0.05)
