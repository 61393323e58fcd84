"""One platform's wire: requests to its own origin only, and what HTTP failures mean for each verb."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

from jobs.domain.errors import Misconfigured
from jobs.platforms.base import (
    Accepted,
    Ambiguous,
    CancelNotFound,
    CancelResult,
    CancelTransient,
    NotFound,
    PlatformConfig,
    PollRequest,
    PollResult,
    Rejected,
    SubmitResult,
    TooLate,
    Transient,
    TransientPoll,
)
from jobs.platforms.connections import Client
from jobs.platforms.guard import TargetRefused, split
from jobs.platforms.http import Answer, NoAnswer, exchange
from jobs.platforms.words import problem

_AT_ONCE = 16
_MENDABLE = {401: "credential refused", 402: "payment required", 407: "proxy credential refused"}
_NOT_NOW = (301, 307, 308, 408, 425, 429)
_UNCLEAR = (302, 303, 409)


class Wire:
    """`call` never raises. The credential goes to the platform's own origin and nowhere else."""

    def __init__(self, config: PlatformConfig, client: Client, *, strip: str = "") -> None:
        try:
            self._origin = split(config.base_url)
        except TargetRefused as error:
            raise Misconfigured(f"{config.name}: base_url is no URL") from error
        self.base = config.base_url.rstrip("/").removesuffix(strip).rstrip("/")
        self._config = config
        self._client = client

    async def call(
        self, method: str, url: str, headers: Mapping[str, str], **parts: Any
    ) -> Answer | NoAnswer:
        """`url` is a path below the base or a URL of its origin (see `own`); another one is not called."""
        target = self.base + url if url.startswith("/") else self.own(url)
        if target is None:
            return NoAnswer(reason="the URL is not the platform's own", sent=False, kept=True)
        private = self._config.allow_private
        return await exchange(
            self._client, method, target, allow_private=private, headers=headers, **parts
        )

    def own(self, url: object) -> str | None:
        """A URL that the platform gave us, if it leads back to the platform itself."""
        if not isinstance(url, str) or len(url) > 2000:
            return None
        try:
            return url if split(url) == self._origin else None
        except TargetRefused:
            return None

    def own_urls(self, found: Mapping[str, object]) -> dict[str, str]:
        return {name: url for name, value in found.items() if (url := self.own(value))}


async def each(
    requests: list[PollRequest], one: Callable[[PollRequest], Awaitable[PollResult]]
) -> dict[str, PollResult]:
    """Ask about each task on its own, a few at a time, for platforms without a batch call."""
    if len(requests) == 1:
        return {requests[0].task_id: await one(requests[0])}
    gate = asyncio.Semaphore(_AT_ONCE)

    async def gated(request: PollRequest) -> PollResult:
        async with gate:
            return await one(request)

    answers = await asyncio.gather(*(gated(request) for request in requests))
    return {request.task_id: answer for request, answer in zip(requests, answers, strict=True)}


def escaped(external_id: str) -> str:
    return quote(external_id, safe="")


def submit_failure(answer: Answer | NoAnswer) -> Rejected | Ambiguous | Transient | None:
    """What a submit's answer means when it isn't a readable 2xx; None when it is."""
    if isinstance(answer, NoAnswer):
        if answer.barred:
            return Rejected(reason=answer.reason, unsent=True)
        if answer.sent:
            return Ambiguous(reason=answer.reason)
        return Transient(reason=answer.reason, kept=answer.kept)
    code = answer.status_code
    reason = f"HTTP {code}: {_MENDABLE.get(code) or problem(answer)}"
    refused_503 = code == 503 and "retry-after" in answer.headers
    if code in _NOT_NOW or code in _MENDABLE or refused_503:
        return Transient(reason=reason, retry_after_s=answer.retry_after_s, alive=code < 500)
    if code in _UNCLEAR or code >= 500 or code < 200:
        return Ambiguous(reason=reason)
    if code >= 300:
        return Rejected(reason=reason, raw=answer.body)
    return None if isinstance(answer.body, dict) else Ambiguous(reason=reason)


def poll_failure(answer: Answer | NoAnswer) -> NotFound | TransientPoll | None:
    """What a poll's answer means when it isn't a readable 2xx; None when it is."""
    if isinstance(answer, NoAnswer):
        return TransientPoll(reason=answer.reason, kept=answer.kept)
    code = answer.status_code
    reason = f"HTTP {code}: {_MENDABLE.get(code) or problem(answer)}"
    if code in (404, 410):
        return NotFound(reason=reason)
    if not answer.ok or not isinstance(answer.body, dict | list):
        alive = 400 <= code < 500
        return TransientPoll(reason=reason, retry_after_s=answer.retry_after_s, alive=alive)
    return None


def lookup_failure(failure: NotFound | TransientPoll) -> Transient:
    """A look-up that brought no answer, as `poll_failure` reads it."""
    if isinstance(failure, NotFound):
        return Transient(reason=failure.reason)
    return Transient(
        reason=failure.reason,
        retry_after_s=failure.retry_after_s,
        alive=failure.alive,
        kept=failure.kept,
    )


def lookup_result(found: SubmitResult) -> Accepted | Transient:
    """What a look-up found; a job whose id cannot be read is no answer."""
    return found if isinstance(found, Accepted) else Transient(reason=found.reason)


def cancel_failure(answer: Answer | NoAnswer) -> CancelResult | None:
    """What a cancel's answer means when it isn't a 2xx (its body may be empty); None when it is."""
    if isinstance(answer, NoAnswer):
        return CancelTransient(reason=answer.reason, kept=answer.kept)
    code = answer.status_code
    reason = f"HTTP {code}: {_MENDABLE.get(code) or problem(answer)}"
    if answer.ok:
        return None
    if code in (404, 410):
        return CancelNotFound(reason=reason)
    if code in (400, 409, 422):
        return TooLate(raw_status=None)
    return CancelTransient(reason=reason, retry_after_s=answer.retry_after_s)
