"""Replicate predictions. Payload: `{"version", "input"}`."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from jobs.domain.states import Status
from jobs.platforms.base import (
    Accepted,
    Ambiguous,
    CancelDone,
    Cancelled,
    CancelRequested,
    CancelResult,
    CancelTransient,
    Failed,
    PlatformConfig,
    PollRequest,
    PollResult,
    Rejected,
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
from jobs.platforms.webhooks import WebhookRefused, lower, read_body, verify_standard
from jobs.platforms.wire import (
    Wire,
    body_of,
    brief,
    cancel_failure,
    each,
    escaped,
    field,
    poll_failure,
    read_id,
    say,
    status_result,
    submit_failure,
)

STATUSES = {
    "starting": Status.SUBMITTED,
    "processing": Status.IN_PROGRESS,
    "succeeded": Status.SUCCESS,
    "failed": Status.FAILURE,
    "canceled": Status.CANCELLED,
    "aborted": Status.CANCELLED,
}
_KEPT = (
    "id",
    "status",
    "error",
    "metrics",
    "created_at",
    "started_at",
    "completed_at",
    "data_removed",
)
_PROGRESS = re.compile(r"(\d{1,3})%\s*\|")


class ReplicateAdapter:
    """There is no look-up by our reference: an ambiguous submit stays ambiguous."""

    protocol: ClassVar[str] = "replicate"
    supports_lookup: ClassVar[bool] = False

    def __init__(self, config: PlatformConfig, client: Client) -> None:
        self._wire = Wire(config, client, strip="/v1")
        self._secret = config.webhook_secret
        self._headers = {"Authorization": f"Bearer {config.credential}"}

    async def submit(self, request: SubmitRequest) -> SubmitResult:
        version, given = request.payload.get("version"), request.payload.get("input")
        if not isinstance(version, str) or not isinstance(given, dict):
            return Rejected(reason="the payload needs `version` (text) and `input` (object)")
        body: dict[str, Any] = {"version": version, "input": given}
        if request.webhook_url:
            body |= {
                "webhook": request.webhook_url,
                "webhook_events_filter": ["start", "completed"],
            }
        answer = await self._wire.call("POST", "/v1/predictions", self._headers, json=body)
        failure = submit_failure(answer)
        return failure if failure is not None else self._accepted(body_of(answer))

    def _accepted(self, body: object) -> SubmitResult:
        external_id, word = read_id(field(body, "id")), field(body, "status")
        if external_id is None or not isinstance(word, str):
            return Ambiguous(reason="the prediction created has no id or status")
        status = STATUSES.get(word, Status.SUBMITTED)
        return Accepted(
            external_id=external_id,
            # An end is told by a poll, which also brings what belongs to it.
            status=status if status is Status.IN_PROGRESS else Status.SUBMITTED,
            raw_status=word,
            urls=self._wire.own_urls({k: field(body, f"urls.{k}") for k in ("get", "cancel")}),
            answer=brief(body, _KEPT),
        )

    async def lookup(self, reference: str) -> Accepted | Transient | None:
        return Transient(reason="Replicate has no look-up")

    async def poll(self, requests: list[PollRequest]) -> dict[str, PollResult]:
        return await each(requests, self._poll)

    async def _poll(self, request: PollRequest) -> PollResult:
        url = request.urls.get("get") or f"/v1/predictions/{escaped(request.external_id)}"
        answer = await self._wire.call("GET", url, self._headers)
        failure = poll_failure(answer)
        if failure is not None:
            return failure
        body = body_of(answer)
        if field(body, "id") != request.external_id:
            return TransientPoll(reason="the answer is about another prediction")
        return _read(body)

    async def cancel(self, request: PollRequest) -> CancelResult:
        url = request.urls.get("cancel") or f"/v1/predictions/{escaped(request.external_id)}/cancel"
        answer = await self._wire.call("POST", url, self._headers)
        failure = cancel_failure(answer)
        if failure is not None:
            return failure
        word = field(body_of(answer), "status")
        match STATUSES.get(word) if isinstance(word, str) else None:
            case Status.CANCELLED:
                return CancelDone(raw_status=word)
            case Status.SUCCESS | Status.FAILURE:
                return TooLate(raw_status=word)
            case None:
                return CancelTransient(reason="the answer to the cancel has no known status")
        return CancelRequested(raw_status=word)

    async def prepare_webhook(self, now_s: float) -> None:
        return None

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, now_s: float) -> None:
        verify_standard(self._secret, headers, body, now_s)

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> WebhookHint:
        prediction = read_body(body)
        external_id = read_id(prediction.get("id"))
        if external_id is None:
            raise WebhookRefused("The webhook names no prediction")
        result = _read(prediction)
        return WebhookHint(
            external_id=external_id,
            result=None if isinstance(result, TransientPoll) else result,
            delivery_id=lower(headers).get("webhook-id"),
        )


def _read(body: object) -> PollResult:
    word, answer = field(body, "status"), brief(body, _KEPT)
    running = status_result(word, STATUSES, answer)
    if isinstance(running, Running):
        return Running(
            status=running.status,
            raw_status=running.raw_status,
            progress=_progress(body),
            answer=answer,
        )
    if running is not None:
        return running
    match STATUSES[word]:
        case Status.SUCCESS:
            result = {"output": field(body, "output"), "metrics": field(body, "metrics")}
            return Succeeded(result=result, raw_status=word, answer=answer)
        case Status.FAILURE:
            return Failed(reason=say(field(body, "error")), raw_status=word, answer=answer)
    return Cancelled(raw_status=word, answer=answer)


def _progress(body: object) -> int | None:
    logs = field(body, "logs")
    found = _PROGRESS.findall(logs[-2000:]) if isinstance(logs, str) else []
    return min(int(found[-1]), 100) if found else None
