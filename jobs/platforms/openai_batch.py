"""OpenAI batches. Payload: `{"endpoint", "requests": […]}` or `{"endpoint", "input_file_id"}`, plus `metadata`.

A request is a line of the batch file, or just its body (then `custom_id`, method and URL are added).
"""

import json
from collections.abc import Iterator, Mapping
from typing import ClassVar

import aiohttp

from jobs.domain.states import Status
from jobs.platforms import base
from jobs.platforms.complaints import CommonOptions, Complaint, header_value, text_secret
from jobs.platforms.connections import Client
from jobs.platforms.usual import UsualAdapter
from jobs.platforms.webhooks import WebhookRefused, lower, read_body
from jobs.platforms.wire import (
    cancel_failure,
    escaped,
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

STATUSES = {
    "validating": Status.SUBMITTED,
    "in_progress": Status.IN_PROGRESS,
    "finalizing": Status.IN_PROGRESS,
    "cancelling": Status.IN_PROGRESS,
    "completed": Status.SUCCESS,
    "failed": Status.FAILURE,
    "expired": Status.FAILURE,
    "cancelled": Status.CANCELLED,
}
_REFERENCE = "taskcenter_reference"
_KEPT = ("id", "status", "output_file_id", "error_file_id", "request_counts", "usage", "errors")
_RESULT = ("output_file_id", "error_file_id", "request_counts", "usage")
_PAGES = 5


class BatchOptions(CommonOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sent as headers."""

    organization: str = ""
    project: str = ""


class OpenAIBatchAdapter(UsualAdapter):
    """Our reference travels in the batch's metadata, and the latest batches are looked through for it."""

    protocol: ClassVar[str] = "openai_batch"
    supports_lookup = True
    two_phase_cancel: ClassVar[bool] = True
    options_type: ClassVar[type[BatchOptions]] = BatchOptions

    @staticmethod
    def complaints(config: base.PlatformConfig) -> Iterator[Complaint]:
        yield from text_secret(config.webhook_secret)
        for option in ("organization", "project"):
            yield from header_value(option, config.options.get(option))

    def __init__(self, config: base.PlatformConfig, client: Client) -> None:
        super().__init__(config, client, strip="/v1")
        for option, header in (
            ("organization", "OpenAI-Organization"),
            ("project", "OpenAI-Project"),
        ):
            if option in config.options:
                self._headers[header] = str(config.options[option])

    async def submit(self, request: base.SubmitRequest) -> base.SubmitResult:
        endpoint, metadata = request.payload.get("endpoint"), request.payload.get("metadata", {})
        if not isinstance(endpoint, str) or not isinstance(metadata, dict):
            return base.Rejected(
                reason="the payload needs `endpoint` (text); `metadata` is an object"
            )
        file_id = request.payload.get("input_file_id")
        if file_id is None:
            file_id = await self._upload(request, endpoint)
        if not isinstance(file_id, str):
            return (
                file_id
                if isinstance(file_id, base.Rejected | base.Transient)
                else base.Rejected(reason="no file id")
            )
        body = {
            "input_file_id": file_id,
            "endpoint": endpoint,
            "completion_window": "24h",
            "metadata": {**metadata, _REFERENCE: request.reference},
        }
        headers = self._headers | {"Idempotency-Key": request.reference}
        answer = await self._wire.call("POST", "/v1/batches", headers, json=body)
        return submit_failure(answer) or _accepted(body_of(answer))

    async def _upload(
        self, request: base.SubmitRequest, endpoint: str
    ) -> str | base.Rejected | base.Transient:
        """Store the batch file. A file alone runs nothing: whatever goes wrong here may be tried again."""
        requests = request.payload.get("requests")
        if not isinstance(requests, list) or not requests:
            return base.Rejected(reason="the payload needs `requests` (a list) or `input_file_id`")
        lines = "\n".join(json.dumps(_line(item, n, endpoint)) for n, item in enumerate(requests))
        form = aiohttp.FormData({"purpose": "batch"})
        form.add_field(
            "file", lines.encode(), filename="batch.jsonl", content_type="application/jsonl"
        )
        answer = await self._wire.call("POST", "/v1/files", self._headers, form=form)
        failure = submit_failure(answer)
        if isinstance(failure, base.Ambiguous):
            return base.Transient(reason=failure.reason)
        if failure is not None:
            return failure
        return read_id(field(body_of(answer), "id")) or base.Transient(
            reason="the file stored has no id"
        )

    async def lookup(self, reference: str) -> base.Accepted | base.Transient | None:
        after = ""
        for _ in range(_PAGES):
            answer = await self._wire.call("GET", f"/v1/batches?limit=100{after}", self._headers)
            failure = poll_failure(answer)
            if failure is not None:
                return lookup_failure(failure)
            batches = field(body_of(answer), "data")
            for batch in batches if isinstance(batches, list) else []:
                if field(batch, f"metadata.{_REFERENCE}") == reference:
                    return lookup_result(_accepted(batch))
            last = read_id(field(body_of(answer), "last_id"))
            if field(body_of(answer), "has_more") is not True or last is None:
                return None
            after = f"&after={escaped(last)}"
        return base.Transient(reason="the reference is not among the latest batches")

    async def _poll(self, request: base.PollRequest) -> base.PollResult:
        answer = await self._wire.call(
            "GET", f"/v1/batches/{escaped(request.external_id)}", self._headers
        )
        batch = body_of(answer)
        return poll_failure(answer) or other_job(field(batch, "id"), request) or _read(batch)

    async def cancel(self, request: base.PollRequest) -> base.CancelResult:
        """Two-phase: up to ten minutes in `cancelling`, and what was done by then is billed."""
        url = f"/v1/batches/{escaped(request.external_id)}/cancel"
        answer = await self._wire.call("POST", url, self._headers)
        return (
            cancel_failure(answer)
            or cancel_result(field(body_of(answer), "status"), STATUSES)
            or base.CancelTransient(reason="the answer to the cancel has no known status")
        )

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> base.WebhookHint:
        """It carries the id only: poll now."""
        event = read_body(body)
        external_id = read_id(field(event, "data.id"))
        if external_id is None or not str(event.get("type")).startswith("batch."):
            raise WebhookRefused("The webhook is not about a batch")
        return base.WebhookHint(
            external_id=external_id, delivery_id=lower(headers).get("webhook-id")
        )


def _accepted(batch: object) -> base.Accepted | base.Ambiguous:
    external_id, word = read_id(field(batch, "id")), field(batch, "status")
    if external_id is None or not isinstance(word, str):
        return base.Ambiguous(reason="the batch created has no id or status")
    open_ = STATUSES.get(word) is Status.IN_PROGRESS
    return base.Accepted(
        external_id=external_id,
        status=Status.IN_PROGRESS if open_ else Status.SUBMITTED,
        raw_status=word,
        answer=brief(batch, _KEPT),
    )


def _line(item: object, number: int, endpoint: str) -> object:
    if isinstance(item, dict) and "body" in item and "custom_id" in item:
        return {"method": "POST", "url": endpoint, **item}
    return {"custom_id": f"request-{number}", "method": "POST", "url": endpoint, "body": item}


def _read(batch: object) -> base.PollResult:
    word = field(batch, "status")
    otherwise = "not done within 24 hours" if word == "expired" else "the batch failed"
    return poll_result(
        word,
        STATUSES,
        brief(batch, _KEPT),
        result=brief(batch, _RESULT),
        reason=say(field(batch, "errors.data.0"), otherwise),
        progress=_progress(batch),
        billed=_billed(batch),
    )


def _billed(batch: object) -> float | None:
    """Requests completed before a cancel or the 24 hours are billed; their output is there."""
    total, done = (field(batch, f"request_counts.{name}") for name in ("total", "completed"))
    if not isinstance(total, int) or not isinstance(done, int) or total <= 0 or done <= 0:
        return None
    return min(done, total) / total


def _progress(batch: object) -> int | None:
    total, *done = (
        field(batch, f"request_counts.{name}") for name in ("total", "completed", "failed")
    )
    if not isinstance(total, int) or total <= 0:
        return None
    finished = sum(count for count in done if isinstance(count, int))
    return percent(finished * 100 // total)
