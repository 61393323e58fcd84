"""What a running handler knows of its task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog


@dataclass(kw_only=True, slots=True)
class Context:
    """Handed to a handler that takes a second argument.

    `attempt` counts started runs from 1, `retried` failures so far; `left_s` seconds remain until the run's
    timeout or the task's deadline, whichever comes first (None: no limit). `task_id` is the public id and stays
    the same over all runs: the natural idempotency key for calls to other systems.
    """

    task_id: str
    type: str
    queue: str
    attempt: int
    retried: int
    left_s: float | None = None
    user_id: int | None = None
    business_id: str | None = None
    trace_id: str | None = None
    tenant_id: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    _cancelled: bool = False
    _report: Callable[[int], None] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked this run to stop; long loops look at it."""
        return self._cancelled

    @property
    def log(self) -> Any:
        """A logger that carries this run's ids."""
        return structlog.get_logger("handler").bind(
            task_id=self.task_id, attempt=self.attempt, queue=self.queue
        )

    def progress(self, percent: int) -> None:
        """Report progress, 0 to 100; written with the worker's next heartbeat."""
        if self._report is not None:
            self._report(max(0, min(100, int(percent))))

    def request_stop(self) -> None:
        """Set the cancellation flag (called by the worker)."""
        self._cancelled = True
