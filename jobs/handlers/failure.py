"""What a handler's failure hooks are told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """The facts of a run that failed, as its Context had them, and what comes next.

    `dead`: the task went to the dead letters; else `retry_in_s` seconds remain until its next try, or neither:
    the handler itself reported a failure and the task has ended. `retried` counts failures before this one.
    """

    task_id: str
    type: str
    queue: str
    attempt: int
    retried: int
    max_retries: int
    dead: bool
    retry_in_s: float | None = None
    user_id: int | None = None
    business_id: str | None = None
    trace_id: str | None = None
    tenant_id: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)


Hook: TypeAlias = Callable[[Any, Failure, str], object]
"""`hook(payload, failure, error)`; payload is None when it did not fit its type."""
