"""Replicate predictions. Payload: `{"version", "input"}`."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from jobs.domain.states import Status
from jobs.platforms import base
from jobs.platforms.connections import Client
from jobs.platforms.usual import UsualAdapter
from jobs.platforms.webhooks import WebhookRefused, lower, read_body
from jobs.platforms.wire import cancel_failure, escaped, poll_failure, submit_failure
from jobs.platforms.words import (
    body_of,
    brief,
    cancel_result,
    field,
    other_job,
    poll_result,
    read_id,
    say,
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


class ReplicateAdapter(UsualAdapter):
    """There is no look-up by our reference: an ambiguous submit stays ambiguous."""

    protocol: ClassVar[str] = "replicate"

    def __init__(self, config: base.PlatformConfig, client: Client) -> None:
        super().__init__(config, client, strip="/v1")

    async def submit(self, request: base.SubmitRequest) -> base.SubmitResult:
        version, given = request.payload.get("version"), request.payload.get("input")
        if not isinstance(version, str) or not isinstance(given, dict):
            return base.Rejected(reason="the payload needs `version` (text) and `input` (object)")
        body: dict[str, Any] = {"version": version, "input": given}
        if request.webhook_url:
            body |= {
                "webhook": request.webhook_url,
                "webhook_events_filter": ["start", "completed"],
            }
        answer = await self._wire.call("POST", "/v1/predictions", self._headers, json=body)
        return submit_failure(answer) or self._accepted(body_of(answer))

    def _accepted(self, body: object) -> base.SubmitResult:
        external_id, word = read_id(field(body, "id")), field(body, "status")
        if external_id is None or not isinstance(word, str):
            return base.Ambiguous(reason="the prediction created has no id or status")
        status = STATUSES.get(word, Status.SUBMITTED)
        return base.Accepted(
            external_id=external_id,
            # An end is told by a poll, which also brings what belongs to it.
            status=status if status is Status.IN_PROGRESS else Status.SUBMITTED,
            raw_status=word,
            urls=self._wire.own_urls({k: field(body, f"urls.{k}") for k in ("get", "cancel")}),
            answer=brief(body, _KEPT),
        )

    async def _poll(self, request: base.PollRequest) -> base.PollResult:
        url = request.urls.get("get") or f"/v1/predictions/{escaped(request.external_id)}"
        answer = await self._wire.call("GET", url, self._headers)
        body = body_of(answer)
        return poll_failure(answer) or other_job(field(body, "id"), request) or _read(body)

    async def cancel(self, request: base.PollRequest) -> base.CancelResult:
        url = request.urls.get("cancel") or f"/v1/predictions/{escaped(request.external_id)}/cancel"
        answer = await self._wire.call("POST", url, self._headers)
        return (
            cancel_failure(answer)
            or cancel_result(field(body_of(answer), "status"), STATUSES)
            or base.CancelTransient(reason="the answer to the cancel has no known status")
        )

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> base.WebhookHint:
        prediction = read_body(body)
        external_id = read_id(prediction.get("id"))
        if external_id is None:
            raise WebhookRefused("The webhook names no prediction")
        result = _read(prediction)
        return base.WebhookHint(
            external_id=external_id,
            result=None if isinstance(result, base.TransientPoll) else result,
            delivery_id=lower(headers).get("webhook-id"),
        )


def _read(body: object) -> base.PollResult:
    return poll_result(
        field(body, "status"),
        STATUSES,
        brief(body, _KEPT),
        result={"output": field(body, "output"), "metrics": field(body, "metrics")},
        reason=say(field(body, "error")),
        progress=_progress(body),
    )


def _progress(body: object) -> int | None:
    logs = field(body, "logs")
    found = _PROGRESS.findall(logs[-2000:]) if isinstance(logs, str) else []
    return min(int(found[-1]), 100) if found else None
