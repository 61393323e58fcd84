"""Waiting for a condition instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def eventually(fn: Callable[[], _T], timeout_s: float = 10, *, every_s: float = 0.02) -> _T:
    """Call `fn` until it returns something true and return that.

    An AssertionError inside `fn` means "not yet". Raises the last AssertionError, or one that shows the
    last value, when the time is over.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            value = fn()
            if value:
                return value
            failure = AssertionError(f"still {value!r} after {timeout_s} s")
        except AssertionError as error:
            failure = error
        if time.monotonic() >= deadline:
            raise failure
        time.sleep(every_s)
