"""One platform's wire: requests to its own origin only, and what HTTP failures mean for each verb."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from jobs.domain.errors import Misconfigured
from jobs.domain.states import Status
from jobs.platforms.base import (
    Ambiguous,
    CancelNotFound,
    CancelResult,
    CancelTransient,
    NotFound,
    PlatformConfig,
    PollRequest,
    PollResult,
    Rejected,
    Running,
    TooLate,
    Transient,
    TransientPoll,
    Unrecognised,
)
from jobs.platforms.connections import Client
from jobs.platforms.guard import TargetRefused, split
from jobs.platforms.http import Answer, NoAnswer, exchange

_AT_ONCE = 16
_ID = re.compile(r"[\x21-\x7e]{1,255}")
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


def read_id(value: object) -> str | None:
    """An external id that we can store and put into a URL."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _ID.fullmatch(text) or not text.strip("."):
        return None
    return text


def escaped(external_id: str) -> str:
    return quote(external_id, safe="")


def field(body: object, path: str) -> Any:
    """The value at a dotted path (`data.videos.0.url`); None when any step is missing."""
    for step in path.split(".") if path else ():
        if isinstance(body, dict):
            body = body.get(step)
        elif isinstance(body, list) and step.isdecimal():
            body = body[int(step)] if int(step) < len(body) else None
        else:
            return None
    return body


def body_of(answer: Answer | NoAnswer) -> Any:
    return answer.body if isinstance(answer, Answer) else None


def brief(body: object, names: Iterable[str]) -> dict[str, Any]:
    """The named fields that are worth keeping beside the task, none of them long."""
    kept = {}
    for name in names:
        value = field(body, name)
        if isinstance(value, str):
            kept[name] = value[:2000]
        elif value is not None and len(repr(value)) <= 4000:
            kept[name] = value
    return kept


def say(value: object, otherwise: str = "the platform gave no reason") -> str:
    """A reason for people, out of whatever a platform put there."""
    if isinstance(value, dict):
        value = value.get("message") or value.get("msg") or value.get("detail") or value
    text = value if isinstance(value, str) else "" if value is None else repr(value)
    return text.strip()[:2000] or otherwise


def status_result(word: object, known: Mapping[str, Status], answer: object) -> PollResult | None:
    """Running for an open status, EMPTY or malformed or unknown words; None when the caller must look."""
    if not isinstance(word, str):
        return TransientPoll(reason="the answer has no status")
    if word == "":
        return Running(status=Status.EMPTY, raw_status="", answer=answer)
    status = known.get(word)
    if status is None:
        return Unrecognised(raw_status=word[:200], answer=answer)
    if status in (Status.SUCCESS, Status.FAILURE, Status.CANCELLED):
        return None
    return Running(status=status, raw_status=word, answer=answer)


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


def problem(answer: Answer) -> str:
    """Why an answer is no good, in the platform's words where it has some."""
    if answer.problem is not None:
        return answer.problem
    for path in ("error.message", "detail", "message", "title", "error"):
        if (value := field(answer.body, path)) is not None:
            return say(value)
    return "an answer of an unexpected shape"
