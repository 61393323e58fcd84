"""A claimed task inside this process, from the claim to its settle."""

import time
from collections.abc import Callable
from enum import Enum
from typing import Any

from jobs.domain.states import Lane
from jobs.handlers.context import Context
from jobs.handlers.registry import Handler
from jobs.lifecycle import poison
from jobs.operations.runs import Run


class Why(Enum):
    """Why a run is being stopped from outside. STOPPING and LOST settle nothing."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    STOPPING = "stopping"
    LOST = "lost"


_NONE: Any = None  # until `equip` has found it


class Active:
    """One run: mutable, touched by feeder, lane, watchdog and settler; `done` is set once, by `Engine.ended`.

    Times are of this process' monotonic clock. `handle` belongs to the lane (asyncio task, thread, child).
    """

    __slots__ = (
        "by_deadline",
        "call",
        "claimed_s",
        "context",
        "done",
        "expires_s",
        "handle",
        "handler",
        "lane",
        "limit_s",
        "payload",
        "percent",
        "queue",
        "run",
        "started_s",
        "why",
        "worker_id",
    )

    def __init__(self, run: Run, queue: str, worker_id: int) -> None:
        self.run = run
        self.queue = queue
        self.worker_id = worker_id
        self.lane = Lane(run.lane)
        if run.crashes and self.lane is not Lane.PLATFORM and poison.runs_solo(run.crashes):
            self.lane = Lane.PROCESS
        self.claimed_s = time.monotonic()
        self.started_s = 0.0
        self.expires_s = float("inf")
        self.limit_s = 0.0
        self.by_deadline = False
        self.done = False
        self.why: Why | None = None
        self.percent: int | None = None
        self.handle: Any = None
        self.handler: Handler = _NONE
        self.payload: Any = None
        self.context: Context | None = None
        self.call: Callable[..., Any] | None = None

    def begin(self, now_s: float) -> None:
        """Start the clock: the timeout counts from here, the deadline from the claim."""
        run = self.run
        self.started_s = now_s
        if run.timeout_ms is not None:
            self.limit_s = run.timeout_ms / 1000
            self.expires_s = now_s + self.limit_s
        if run.left_s is not None:
            due_s = self.claimed_s + run.left_s
            if due_s < self.expires_s:
                self.expires_s, self.by_deadline = due_s, True
                self.limit_s = max(0.0, due_s - now_s)
