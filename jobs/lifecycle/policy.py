"""Which errors are retried, how often and when: what a handler declares."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from jobs.contract.reader import contract
from jobs.lifecycle.backoff import retry_delay_s

_T = TypeVar("_T")
_LONGEST_S = 366 * 86_400.0


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """A handler's retries. Errors are classes or their names, with or without module; subclasses count.

    `delay(retried, error)` → seconds overrides the back-off. `retry_on` empty: every error.
    `http_statuses`: of errors that carry an HTTP status, only these are retried (None: as others).
    `never_retry_on` wins over both. `is_failure(error)` false: retried without counting.
    """

    max_retries: int = field(default_factory=lambda: contract().retry.max_retries)
    base_s: float = field(default_factory=lambda: contract().retry.base_s)
    cap_s: float = field(default_factory=lambda: contract().retry.cap_s)
    delay: Callable[[int, BaseException], float] | None = None
    retry_on: tuple[str | type[BaseException], ...] = ()
    never_retry_on: tuple[str | type[BaseException], ...] = ()
    http_statuses: frozenset[int] | None = None
    is_failure: Callable[[BaseException], bool] | None = None

    def retries(self, error: BaseException) -> bool:
        """Whether this error is worth another try."""
        if _named(error, self.never_retry_on):
            return False
        if self.http_statuses is not None:
            status = http_status(error)
            if status is not None:
                return status in self.http_statuses
        return not self.retry_on or _named(error, self.retry_on)

    def fails(self, error: BaseException) -> bool:
        """Whether this error counts as a failure; a predicate that breaks itself makes it one."""
        is_failure = self.is_failure
        return is_failure is None or _ask(lambda: bool(is_failure(error)), True)

    def delay_s(self, retried: int, error: BaseException, *, jitter: float) -> float:
        """Seconds until the next try; a broken `delay` function falls back to the back-off."""
        usual = retry_delay_s(retried, base_s=self.base_s, cap_s=self.cap_s, jitter=jitter)
        delay = self.delay
        if delay is None:
            return usual
        return _ask(lambda: bounded_s(delay(retried, error), usual), usual)


def http_status(error: BaseException) -> int | None:
    """The HTTP status that an error carries itself or on its `response`."""
    for holder in (error, _attribute(error, "response")):
        for name in ("status_code", "status", "code"):
            value = _attribute(holder, name)
            if isinstance(value, int) and 100 <= value <= 599:
                return int(value)
    return None


def bounded_s(given: object, otherwise: float) -> float:
    """A delay as the database can take it: 0 to a year; `otherwise` for what is no number."""
    if not isinstance(given, int | float) or given != given:
        return otherwise
    return float(min(max(given, 0.0), _LONGEST_S))


def _attribute(holder: object, name: str) -> object:
    return _ask(lambda: getattr(holder, name, None), None)


def _named(error: BaseException, wanted: tuple[str | type[BaseException], ...]) -> bool:
    if not wanted:
        return False
    names = set(_names(type(error)))
    return any(one in names if isinstance(one, str) else isinstance(error, one) for one in wanted)


def _names(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        yield base.__name__
        yield f"{base.__module__}.{base.__qualname__}"


def _ask(question: Callable[[], _T], otherwise: _T) -> _T:
    """A handler's own function may raise anything: that must not take the settle down."""
    try:
        return question()
    except Exception:
        return otherwise
