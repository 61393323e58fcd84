"""Every error that a caller may meet, in one tree.

`code` never changes, the docstring is the English message, `details` is JSON that helps to mend the call.
A message may name details, `"There is no queue '%(queue)s'", queue=name`: whoever shows it translates it first.
One table in the API maps classes to HTTP statuses. No error repeats more than a little of what it was given.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

_PLACE = re.compile(r"%\((\w+)\)s")
_LONGEST, _KEPT, _MOST, _DEPTH = 1_000, 200, 100, 6


def filled(template: str, details: Mapping[str, object]) -> str:
    """`%(name)s` replaced by details of that name; whatever else looks so is left alone."""
    return _PLACE.sub(lambda m: _shown(details[m[1]]) if m[1] in details else m[0], template)


def shortened(value: object, depth: int = _DEPTH) -> object:
    """What a refusal repeats of what it was given: long text, long lists and deep structures are cut."""
    if isinstance(value, str):
        return value if len(value) <= _LONGEST else f"{value[:_KEPT]}…"
    if depth == 0 and isinstance(value, dict | list | tuple | set | frozenset):
        return "…"
    if isinstance(value, dict):
        first = itertools.islice(value.items(), _MOST)
        return {shortened(k, depth - 1): shortened(v, depth - 1) for k, v in first}
    if isinstance(value, list | tuple) and not all(isinstance(item, int) for item in value):
        cut = [shortened(item, depth - 1) for item in value[:_MOST]]
        return cut if len(value) <= _MOST else [*cut, "…"]
    return value


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


class TaskCenterError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    faults: "tuple[TaskCenterError, ...]" = ()  # when several things are wrong: each of them

    def __init__(self, message: str | None = None, **details: object) -> None:
        template = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.template = template if len(template) <= _LONGEST else f"{template[:_KEPT]}…"
        self.details = {name: shortened(value) for name, value in details.items()}
        self.message = filled(self.template, self.details)
        super().__init__(self.message)

    def __str__(self) -> str:
        if not self.details:
            return self.message
        return f"{self.message} ({', '.join(f'{k}={v!r}' for k, v in self.details.items())})"


class Misconfigured(TaskCenterError):
    """The configuration is wrong."""

    code = "misconfigured"


class Invalid(TaskCenterError):
    """The request is well-formed but wrong."""

    code = "invalid"


class Malformed(TaskCenterError):
    """The request cannot be read."""

    code = "malformed"


class TooLarge(TaskCenterError):
    """The payload is larger or deeper than allowed."""

    code = "too_large"


def refuse(faults: Sequence[TaskCenterError]) -> None:
    """Raises the one fault there is, or one Invalid with all of them; nothing when there is none."""
    if not faults:
        return
    if len(faults) == 1:
        raise faults[0]
    said = [{**fault.details, "message": fault.message} for fault in faults]
    error = Invalid("Several things are wrong", faults=said)
    error.faults = tuple(faults)
    raise error


class UnknownType(Invalid):
    """No handler is registered for this task type."""

    code = "unknown_type"


class UnknownQueue(Invalid):
    """There is no such queue."""

    code = "unknown_queue"


class UnknownPlatform(Invalid):
    """There is no such platform."""

    code = "unknown_platform"


class NotFound(TaskCenterError):
    """There is no such thing."""

    code = "not_found"


class TaskNotFound(NotFound):
    """There is no such task."""

    code = "task_not_found"


class Conflict(TaskCenterError):
    """The present state does not allow this."""

    code = "conflict"


class IllegalTransition(Conflict):
    """The task's state does not allow this action."""

    code = "illegal_state"


class DuplicateTask(Conflict):
    """ErrDuplicateTask: the same task is already waiting or running."""

    code = "duplicate_task"


class TaskIdInUse(Conflict):
    """A task with this id exists already."""

    code = "task_id_in_use"


class IdempotencyMismatch(Invalid):
    """This idempotency key was used with another body."""

    code = "idempotency_mismatch"


class InsufficientCredits(TaskCenterError):
    """The account's balance does not cover this charge."""

    code = "insufficient_credits"


class QueueFull(TaskCenterError):
    """The queue is at its capacity; try again later."""

    code = "queue_full"

    def __init__(
        self, message: str | None = None, *, retry_after_s: int = 5, **details: object
    ) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message, retry_after_s=retry_after_s, **details)


class RateLimited(TaskCenterError):
    """Too many requests; try again later."""

    code = "rate_limited"

    def __init__(
        self, message: str | None = None, *, retry_after_s: int = 1, **details: object
    ) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message, retry_after_s=retry_after_s, **details)


class QuotaExceeded(RateLimited):
    """The tenant has as many tasks waiting as it may; try again later."""

    code = "quota_exceeded"


class Unauthenticated(TaskCenterError):
    """The request carries no valid key."""

    code = "unauthenticated"


class Forbidden(TaskCenterError):
    """This is not allowed."""

    code = "forbidden"


class Unavailable(TaskCenterError):
    """A store cannot be reached; try again later."""

    code = "unavailable"


class RedisUnavailable(Unavailable):
    """Redis cannot be reached."""

    code = "redis_unavailable"


class StaleEpoch(TaskCenterError):
    """Redis has lost its data or another process has raised the epoch."""

    code = "stale_epoch"
