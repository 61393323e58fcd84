"""A platform described by configuration: URL templates and dotted JSON paths in `options` (see `Options`)."""

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from jobs.domain.errors import Misconfigured
from jobs.domain.states import Status, status_from_wire
from jobs.platforms import base
from jobs.platforms.connections import Client
from jobs.platforms.generic_options import HOLE, Call, Options, complaints
from jobs.platforms.usual import UsualAdapter
from jobs.platforms.webhooks import WebhookRefused, lower, read_body
from jobs.platforms.wire import (
    cancel_failure,
    lookup_failure,
    lookup_result,
    poll_failure,
    submit_failure,
)
from jobs.platforms.words import (
    body_of,
    brief,
    cancel_result,
    field,
    other_job,
    percent,
    poll_result,
    read_id,
    say,
)


class GenericAdapter(UsualAdapter):
    protocol: ClassVar[str] = "generic"
    options_type: ClassVar[type[Options]] = Options
    complaints = staticmethod(complaints)

    def __init__(self, config: base.PlatformConfig, client: Client) -> None:
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
        headers = {self._options.auth_header: auth} if self._options.auth_header else {}
        super().__init__(config, client, headers=headers)

    async def submit(self, request: base.SubmitRequest) -> base.SubmitResult:
        how = self._options.submit
        body: dict[str, Any] = dict(request.payload)
        if how.reference_field:
            body[how.reference_field] = request.reference
        if how.webhook_field and request.webhook_url:
            body[how.webhook_field] = request.webhook_url
        extra = {how.reference_header: request.reference} if how.reference_header else {}
        url = _fill(how.url, reference=request.reference)
        answer = await self._wire.call(how.method, url, self._headers | extra, json=body)
        return submit_failure(answer) or self._accepted(body_of(answer))

    def _accepted(self, body: object) -> base.Accepted | base.Ambiguous:
        external_id, word = read_id(self._at(body, "id")), self._at(body, "status")
        if external_id is None:
            return base.Ambiguous(reason="the answer to the submit has no id")
        status = self._statuses.get(word) if isinstance(word, str) else None
        open_ = status in (Status.QUEUED, Status.IN_PROGRESS)
        return base.Accepted(
            external_id=external_id,
            status=status if open_ and status is not None else Status.SUBMITTED,
            raw_status=word[:200] if isinstance(word, str) else "",
            answer=self._kept(body),
        )

    async def lookup(self, reference: str) -> base.Accepted | base.Transient | None:
        how = self._options.lookup
        if how is None:
            return await super().lookup(reference)
        url = _fill(how.url, reference=reference)
        answer = await self._wire.call(how.method, url, self._headers)
        failure = poll_failure(answer)
        if failure is not None:
            return None if isinstance(failure, base.NotFound) else lookup_failure(failure)
        body = body_of(answer)
        job = (field(body, how.items) if how.items else body) or None
        if isinstance(job, list):
            job = job[0]
        return None if job is None else lookup_result(self._accepted(job))

    async def poll(self, requests: list[base.PollRequest]) -> dict[str, base.PollResult]:
        how = self._options.batch
        if how is None or len(requests) < 2:
            return await super().poll(requests)
        found: dict[str, base.PollResult] = {}
        for start in range(0, len(requests), how.most):
            found |= await self._poll_batch(how, requests[start : start + how.most])
        return found

    async def _poll(self, request: base.PollRequest) -> base.PollResult:
        how = self._options.poll
        answer = await self._wire.call(
            how.method, _fill(how.url, id=request.external_id), self._headers
        )
        return poll_failure(answer) or self._about(request, body_of(answer))

    async def _poll_batch(
        self, how: Call, requests: list[base.PollRequest]
    ) -> dict[str, base.PollResult]:
        """What a batch answer leaves out is NotFound."""
        url = _fill(how.url, ids=",".join(request.external_id for request in requests))
        answer = await self._wire.call(how.method, url, self._headers)
        failure = poll_failure(answer)
        items = field(body_of(answer), how.items) if how.items else body_of(answer)
        if failure is None and not isinstance(items, list):
            failure = base.TransientPoll(reason="the batch answer has no list")
        if failure is not None:
            why = (
                base.TransientPoll(reason=failure.reason)
                if isinstance(failure, base.NotFound)
                else failure
            )
            return {request.task_id: why for request in requests}
        known = {read_id(self._at(item, "id")): item for item in items}
        missing = base.NotFound(reason="not in the batch answer")
        return {
            r.task_id: self._about(r, known[r.external_id]) if r.external_id in known else missing
            for r in requests
        }

    def _about(self, request: base.PollRequest, body: object) -> base.PollResult:
        named = self._at(body, "id")
        stray = None if named is None else other_job(named, request)
        return stray or poll_result(
            self._at(body, "status"),
            self._statuses,
            self._kept(body),
            result=self._at(body, "result"),
            reason=say(self._at(body, "error")),
            progress=percent(self._at(body, "progress")),
            billed=self._billed(body),
        )

    def _billed(self, body: object) -> float | None:
        part = self._at(body, "billed")
        known = isinstance(part, int | float) and not isinstance(part, bool) and 0 < part <= 1
        return float(part) if known else None

    async def cancel(self, request: base.PollRequest) -> base.CancelResult:
        how = self._options.cancel
        if how is None:
            return base.CancelUnsupported()
        answer = await self._wire.call(
            how.method, _fill(how.url, id=request.external_id), self._headers
        )
        word = self._at(body_of(answer), "status")
        raw = word[:200] if isinstance(word, str) else None
        return (
            cancel_failure(answer)
            or cancel_result(raw, self._statuses)
            or base.CancelRequested(raw_status=raw)
        )

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> base.WebhookHint:
        external_id = read_id(field(read_body(body), self._options.paths.webhook_id))
        if external_id is None:
            raise WebhookRefused("The webhook names no task")
        return base.WebhookHint(
            external_id=external_id, delivery_id=lower(headers).get("webhook-id")
        )

    def _at(self, body: object, name: str) -> Any:
        return field(body, getattr(self._options.paths, name))

    def _kept(self, body: object) -> dict[str, Any]:
        paths = self._options.paths
        return brief(body, [paths.id, paths.status, paths.error, paths.progress])


def _fill(template: str, **holes: str) -> str:
    """The template with its holes filled, each value escaped for a URL; unknown holes stay as they are."""
    return HOLE.sub(lambda hole: quote(holes.get(hole[1], hole[0]), safe=","), template)
