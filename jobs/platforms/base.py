"""The one interface to external platforms: what is asked of an adapter and what it may answer.

Adapters never raise from submit, lookup, poll or cancel: whatever the network or the platform does
becomes one of the answers below. Statuses are ours (`jobs.domain.states.Status`); `raw_status` is the
platform's own word.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jobs.domain.states import Status


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformConfig:
    """One registered platform, secrets in the clear; never logged or shown."""

    name: str
    protocol: str
    base_url: str
    credential: str = field(default="", repr=False)
    webhook_secret: str = field(default="", repr=False)
    time_limit_s: int = 3600
    allow_private: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmitRequest:
    """`reference` is the idempotency key: the same for every try of one charged run-through."""

    task_id: str
    reference: str
    payload: Mapping[str, Any]
    webhook_url: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """It exists over there. `urls` are those to poll and cancel by; keep them with the task."""

    external_id: str
    status: Status
    raw_status: str
    urls: dict[str, str] = field(default_factory=dict)
    answer: object = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """The platform read the request and refused it: sending the same again would be refused again.

    `unsent`: it never left, for we refuse to call that address; no breaker hears of it.
    """

    reason: str
    raw: object = None
    unsent: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Ambiguous:
    """The request left and no clear answer came: it may exist. Never send it again blindly."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Transient:
    """The request certainly created nothing: it may be sent again later.

    `alive`: it was refused by a living service (429, 401 …); only this platform's breaker hears of it.
    `kept`: it never left, through no fault of the service; only this platform's breaker hears of it.
    """

    reason: str
    retry_after_s: float | None = None
    alive: bool = False
    kept: bool = False


SubmitResult = Accepted | Rejected | Ambiguous | Transient


@dataclass(frozen=True, kw_only=True, slots=True)
class PollRequest:
    """One task to ask about (or to cancel)."""

    task_id: str
    external_id: str
    urls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """Not ended. `status` is SUBMITTED, QUEUED, IN_PROGRESS, UNKNOWN or EMPTY (it said `""`)."""

    status: Status
    raw_status: str
    progress: int | None = None
    answer: object = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Succeeded:
    result: object
    raw_status: str
    answer: object = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """`billed`: the part (0 to 1) that the platform bills all the same; None means nothing."""

    reason: str
    raw_status: str
    answer: object = None
    billed: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """Ended by a cancel. `billed`: the part (0 to 1) that was done and is billed; None means nothing."""

    raw_status: str
    answer: object = None
    billed: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NotFound:
    """It says that there is no such thing; only several in a row end a task."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TransientPoll:
    """A contact error: no answer about the task (429, 5xx, timeout, malformed, wrong id).

    `alive`, `kept` as in Transient.
    """

    reason: str
    retry_after_s: float | None = None
    alive: bool = False
    kept: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Unrecognised:
    """A status word that nobody knows: report it, keep the last status, poll on."""

    raw_status: str
    answer: object = None


PollResult = Running | Succeeded | Failed | Cancelled | NotFound | TransientPoll | Unrecognised


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelDone:
    raw_status: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelRequested:
    """It will end later, perhaps with success: the final word of the platform decides."""

    raw_status: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TooLate:
    """It had ended before: ask for its final word."""

    raw_status: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelNotFound:
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelUnsupported:
    """The platform has no cancel: it runs on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelTransient:
    """No answer to the cancel; `kept` as in Transient."""

    reason: str
    retry_after_s: float | None = None
    kept: bool = False


CancelResult = (
    CancelDone | CancelRequested | TooLate | CancelNotFound | CancelUnsupported | CancelTransient
)


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookHint:
    """What a verified webhook says. Without `result` it only means: poll now.

    `delivery_id` is the same for every delivery of one event: refuse one that was seen before.
    """

    external_id: str
    result: PollResult | None = None
    delivery_id: str | None = None


class Adapter(Protocol):
    """One platform's protocol. Instances are cheap, hold no state and may be shared by tasks.

    A class whose cancels only ask, and end by a later word of the platform, says `two_phase_cancel = True`; one
    whose `poll` asks about many tasks in one request says how many: `tasks_per_poll`.
    """

    @property
    def protocol(self) -> str: ...

    @property
    def supports_lookup(self) -> bool: ...

    async def submit(self, request: SubmitRequest) -> SubmitResult: ...

    async def lookup(self, reference: str) -> Accepted | Transient | None:
        """What carries our reference; None: surely nothing; Transient: could not look."""

    async def poll(self, requests: list[PollRequest]) -> dict[str, PollResult]:
        """By task id; every task asked about is in the answer."""

    async def cancel(self, request: PollRequest) -> CancelResult: ...

    async def prepare_webhook(self, now_s: float) -> None:
        """Fetch what verify_webhook needs and does not have yet (public keys); never raises."""

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, now_s: float) -> None:
        """Raises WebhookRefused."""

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> WebhookHint:
        """Raises WebhookRefused for a body that cannot be read."""
