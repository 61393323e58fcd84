"""A platform described by configuration: URL templates and dotted JSON paths in `options` (see `Options`)."""

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from jobs.domain.errors import Misconfigured
from jobs.domain.states import Status, status_from_wire
from jobs.platforms.base import (
    Accepted,
    Ambiguous,
    CancelDone,
    Cancelled,
    CancelRequested,
    CancelResult,
    CancelUnsupported,
    Failed,
    NotFound,
    PlatformConfig,
    PollRequest,
    PollResult,
    Running,
    SubmitRequest,
    SubmitResult,
    Succeeded,
    TooLate,
    Transient,
    TransientPoll,
    WebhookHint,
)
from jobs.platforms.connections import Client
from jobs.platforms.generic_options import HOLE, Call, Options, complaints
from jobs.platforms.webhooks import WebhookRefused, lower, read_body, verify_standard
from jobs.platforms.wire import (
    Wire,
    body_of,
    brief,
    cancel_failure,
    each,
    field,
    lookup_failure,
    poll_failure,
    read_id,
    say,
    status_result,
    submit_failure,
)


class GenericAdapter:
    protocol: ClassVar[str] = "generic"
    options_type: ClassVar[type[Options]] = Options
    complaints = staticmethod(complaints)

    def __init__(self, config: PlatformConfig, client: Client) -> None:
        self._wire = Wire(config, client)
        self._secret = config.webhook_secret
        try:
            self._options = msgspec.convert(dict(config.options), Options)
            own = {s.wire: s for s in Status if s is not Status.EMPTY}
            given = {word: status_from_wire(name) for word, name in self._options.statuses.items()}
        except msgspec.ValidationError as error:
            raise Misconfigured(f"{config.name}: options: {error}") from error
        except KeyError as error:
            raise Misconfigured(
                f"{config.name}: options.statuses: unknown status {error}"
            ) from error
        self._statuses = own | given
        self.supports_lookup = self._options.lookup is not None
        self.tasks_per_poll = self._options.batch.most if self._options.batch else 1
        auth = self._options.auth_template.replace("{credential}", config.credential)
        self._headers = {self._options.auth_header: auth} if self._options.auth_header else {}

    async def submit(self, request: SubmitRequest) -> SubmitResult:
        how = self._options.submit
        body: dict[str, Any] = dict(request.payload)
        if how.reference_field:
            body[how.reference_field] = request.reference
        if how.webhook_field and request.webhook_url:
            body[how.webhook_field] = request.webhook_url
        extra = {how.reference_header: request.reference} if how.reference_header else {}
        url = _fill(how.url, reference=request.reference)
        answer = await self._wire.call(how.method, url, self._headers | extra, json=body)
        failure = submit_failure(answer)
        return failure if failure is not None else self._accepted(body_of(answer))

    def _accepted(self, body: object) -> Accepted | Ambiguous:
        external_id, word = read_id(self._at(body, "id")), self._at(body, "status")
        if external_id is None:
            return Ambiguous(reason="the answer to the submit has no id")
        status = self._statuses.get(word) if isinstance(word, str) else None
        open_ = status in (Status.QUEUED, Status.IN_PROGRESS)
        return Accepted(
            external_id=external_id,
            status=status if open_ and status is not None else Status.SUBMITTED,
            raw_status=word[:200] if isinstance(word, str) else "",
            answer=self._kept(body),
        )

    async def lookup(self, reference: str) -> Accepted | Transient | None:
        how = self._options.lookup
        if how is None:
            return Transient(reason="no look-up is configured")
        url = _fill(how.url, reference=reference)
        answer = await self._wire.call(how.method, url, self._headers)
        failure = poll_failure(answer)
        if failure is not None:
            return None if isinstance(failure, NotFound) else lookup_failure(failure)
        body = body_of(answer)
        found = (field(body, how.items) if how.items else body) or None
        if isinstance(found, list):
            found = found[0]
        accepted = None if found is None else self._accepted(found)
        return Transient(reason=accepted.reason) if isinstance(accepted, Ambiguous) else accepted

    async def poll(self, requests: list[PollRequest]) -> dict[str, PollResult]:
        how = self._options.batch
        if how is None or len(requests) < 2:
            return await each(requests, self._poll)
        found: dict[str, PollResult] = {}
        for start in range(0, len(requests), how.most):
            found |= await self._poll_batch(how, requests[start : start + how.most])
        return found

    async def _poll(self, request: PollRequest) -> PollResult:
        how = self._options.poll
        answer = await self._wire.call(
            how.method, _fill(how.url, id=request.external_id), self._headers
        )
        failure = poll_failure(answer)
        return failure if failure is not None else self._about(request, body_of(answer))

    async def _poll_batch(self, how: Call, requests: list[PollRequest]) -> dict[str, PollResult]:
        """What a batch answer leaves out is NotFound."""
        url = _fill(how.url, ids=",".join(request.external_id for request in requests))
        answer = await self._wire.call(how.method, url, self._headers)
        failure = poll_failure(answer)
        items = field(body_of(answer), how.items) if how.items else body_of(answer)
        if failure is None and not isinstance(items, list):
            failure = TransientPoll(reason="the batch answer has no list")
        if failure is not None:
            why = TransientPoll(reason=failure.reason) if isinstance(failure, NotFound) else failure
            return {request.task_id: why for request in requests}
        known = {read_id(self._at(item, "id")): item for item in items}
        missing = NotFound(reason="not in the batch answer")
        return {
            r.task_id: self._about(r, known[r.external_id]) if r.external_id in known else missing
            for r in requests
        }

    def _about(self, request: PollRequest, body: object) -> PollResult:
        named = self._at(body, "id")
        if named is not None and read_id(named) != request.external_id:
            return TransientPoll(reason="the answer is about another task")
        word, kept = self._at(body, "status"), self._kept(body)
        running = status_result(word, self._statuses, kept)
        if isinstance(running, Running):
            done = self._at(body, "progress")
            whole = isinstance(done, int | float) and not isinstance(done, bool)
            progress = max(0, min(100, int(done))) if whole else None
            return Running(
                status=running.status, raw_status=running.raw_status, progress=progress, answer=kept
            )
        if running is not None:
            return running
        match self._statuses[word]:
            case Status.SUCCESS:
                return Succeeded(result=self._at(body, "result"), raw_status=word, answer=kept)
            case Status.CANCELLED:
                return Cancelled(raw_status=word, answer=kept, billed=self._billed(body))
        reason = say(self._at(body, "error"))
        return Failed(reason=reason, raw_status=word, answer=kept, billed=self._billed(body))

    def _billed(self, body: object) -> float | None:
        part = self._at(body, "billed")
        known = isinstance(part, int | float) and not isinstance(part, bool) and 0 < part <= 1
        return float(part) if known else None

    async def cancel(self, request: PollRequest) -> CancelResult:
        how = self._options.cancel
        if how is None:
            return CancelUnsupported()
        answer = await self._wire.call(
            how.method, _fill(how.url, id=request.external_id), self._headers
        )
        failure = cancel_failure(answer)
        if failure is not None:
            return failure
        word = self._at(body_of(answer), "status")
        raw = word[:200] if isinstance(word, str) else None
        match self._statuses.get(raw or ""):
            case Status.CANCELLED:
                return CancelDone(raw_status=raw)
            case Status.SUCCESS | Status.FAILURE:
                return TooLate(raw_status=raw)
        return CancelRequested(raw_status=raw)

    async def prepare_webhook(self, now_s: float) -> None:
        return None

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, now_s: float) -> None:
        """Standard Webhooks with the stored secret."""
        verify_standard(self._secret, headers, body, now_s)

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> WebhookHint:
        external_id = read_id(field(read_body(body), self._options.paths.webhook_id))
        if external_id is None:
            raise WebhookRefused("The webhook names no task")
        return WebhookHint(external_id=external_id, delivery_id=lower(headers).get("webhook-id"))

    def _at(self, body: object, name: str) -> Any:
        return field(body, getattr(self._options.paths, name))

    def _kept(self, body: object) -> dict[str, Any]:
        paths = self._options.paths
        return brief(body, [paths.id, paths.status, paths.error, paths.progress])


def _fill(template: str, **holes: str) -> str:
    """The template with its holes filled, each value escaped for a URL; unknown holes stay as they are."""
    return HOLE.sub(lambda hole: quote(holes.get(hole[1], hole[0]), safe=","), template)
