"""How a run ends: what a handler may raise or return, and what the worker settles."""

from dataclasses import dataclass, field
from enum import IntEnum

from jobs.domain.states import State, Status


class SkipRetry(Exception):
    """Raise (or raise from) in a handler: straight to the dead letters, no further try."""


class Discard(Exception):
    """Raise in a handler: end quietly, as cancelled."""


class Retry(Exception):
    """Raise in a handler: try again after `after_s` seconds; `counts=False` uses up no retry."""

    def __init__(
        self, after_s: float | None = None, *, counts: bool = True, reason: str = ""
    ) -> None:
        self.after_s = after_s
        self.counts = counts
        super().__init__(reason or "the handler asked for a retry")


class Poll(Exception):
    """Raise in a handler: not ended yet, look again after `after_s` seconds with this status."""

    def __init__(self, status: Status, *, after_s: float, progress: int | None = None) -> None:
        self.status = status
        self.after_s = after_s
        self.progress = progress
        super().__init__(status.wire)


class TimedOut(Exception):
    """A run was stopped by its timeout or its task's deadline; the text says which and after how long."""


class Kind(IntEnum):
    """How a run ended, as task_run stores it."""

    SUCCEEDED = 1
    RETRIED = 2
    DEAD = 3
    CANCELLED = 4
    POLLED = 5
    FAILED = 6
    HANDED_BACK = 7
    CRASHED = 8
    POSTPONED = 9


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformFacts:
    """What a poll or submit learnt, stored beside the task in the transaction that settles it.

    `understood`: whether the platform said something that we understand; None: it was not asked.
    `cancel_upstream`: it ends here while the platform may still work on it.
    `poll_s`: it is asked again then, without a claim; None: by its next run.
    """

    external_id: str | None = None
    raw_status: str | None = None
    understood: bool | None = None
    polls: int = 0
    unknowns: int = 0
    contact_errors: int = 0
    cancel_answer: str | None = None
    urls: dict[str, str] = field(default_factory=dict)
    answer: object = None
    cancel_upstream: bool = False
    poll_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One run's end, ready to be settled. `delay_s` counts from the settle, by the database's clock.

    `refund`: credits to pay back when it fails or is cancelled; None is all that was charged.
    """

    task_id: str
    token: int
    kind: Kind
    state: State
    status: Status
    delay_s: float = 0.0
    counts: bool = True
    error: str | None = None
    result: object = None
    fail_reason: str | None = None
    progress: int | None = None
    duration_s: float = 0.0
    charged: bool = False
    refund: int | None = None
    to_dead_letter: bool = False
    crashed: bool = False
    platform: PlatformFacts | None = None
