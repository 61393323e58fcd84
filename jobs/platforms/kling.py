"""Kling videos. Payload: the body of text2video, or of image2video when it has `image` or `image_tail`.

The credential is `access key:secret key`. The top-level `message` says SUCCEED even for failed tasks.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from jobs.domain.states import Status
from jobs.platforms import base
from jobs.platforms.complaints import Complaint, gettext_noop
from jobs.platforms.connections import Client
from jobs.platforms.http import Answer, NoAnswer
from jobs.platforms.usual import UsualAdapter
from jobs.platforms.webhooks import WebhookRefused, read_body
from jobs.platforms.wire import escaped, lookup_failure, lookup_result, poll_failure, submit_failure
from jobs.platforms.words import body_of, brief, field, other_job, poll_result, read_id, say

STATUSES = {
    "submitted": Status.SUBMITTED,
    "processing": Status.IN_PROGRESS,
    "succeed": Status.SUCCESS,
    "failed": Status.FAILURE,
}
_KINDS = ("text2video", "image2video")
_KEPT = ("task_id", "task_status", "task_status_msg", "created_at", "updated_at")
_NO_SUCH_TASK = (1203,)

_ = gettext_noop


class KlingAdapter(UsualAdapter):
    """Our reference is their `external_task_id`, by which a task can be asked for as well."""

    protocol: ClassVar[str] = "kling"
    supports_lookup = True

    @staticmethod
    def complaints(config: base.PlatformConfig) -> Iterator[Complaint]:
        """They sign nothing: a webhook secret is of no use and of no harm."""
        keys = config.credential.split(":")
        if config.credential and (len(keys) != 2 or not all(key.strip() for key in keys)):
            message = _("The credential of this protocol is `access key:secret key`")
            yield Complaint(field="credential", message=message)

    def __init__(
        self,
        config: base.PlatformConfig,
        client: Client,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(config, client, headers={}, strip="/v1")
        self._clock = clock

    def _signed(self) -> dict[str, str]:
        access_key, _, secret_key = self._config.credential.partition(":")
        return {"Authorization": f"Bearer {token(access_key, secret_key, int(self._clock()))}"}

    async def submit(self, request: base.SubmitRequest) -> base.SubmitResult:
        kind = _KINDS[1] if {"image", "image_tail"} & request.payload.keys() else _KINDS[0]
        body = {**request.payload, "external_task_id": request.reference}
        if request.webhook_url:
            body["callback_url"] = request.webhook_url
        answer = await self._wire.call("POST", f"/v1/videos/{kind}", self._signed(), json=body)
        failure = self._refused(answer) or submit_failure(answer)
        return failure or self._accepted(body_of(answer), kind)

    def _refused(self, answer: Answer | NoAnswer) -> base.Rejected | base.Transient | None:
        """Their own codes say more than HTTP's: 10xx credential, 11xx account, 13xx limits, 12xx the request."""
        code = field(body_of(answer), "code")
        if not isinstance(code, int) or code == 0 or isinstance(answer, NoAnswer):
            return None
        reason = f"code {code}: {say(field(answer.body, 'message'))}"
        if code // 100 in (10, 11, 13):
            return base.Transient(reason=reason, retry_after_s=answer.retry_after_s)
        return base.Rejected(reason=reason, raw=answer.body) if code // 100 == 12 else None

    def _accepted(self, body: object, kind: str) -> base.SubmitResult:
        external_id, word = read_id(field(body, "data.task_id")), field(body, "data.task_status")
        if field(body, "code") != 0 or external_id is None or not isinstance(word, str):
            return base.Ambiguous(
                reason="the answer to the submit has no task id, or a code of failure"
            )
        return base.Accepted(
            external_id=external_id,
            status=Status.IN_PROGRESS if word == "processing" else Status.SUBMITTED,
            raw_status=word,
            urls={"get": f"{self._wire.base}/v1/videos/{kind}/{escaped(external_id)}"},
            answer=brief(field(body, "data"), _KEPT),
        )

    async def lookup(self, reference: str) -> base.Accepted | base.Transient | None:
        for kind in _KINDS:
            answer = await self._get(f"/v1/videos/{kind}/{escaped(reference)}")
            if isinstance(answer, base.NotFound):
                continue
            if isinstance(answer, base.TransientPoll):
                return lookup_failure(answer)
            return lookup_result(self._accepted(answer, kind))
        return None

    async def _get(self, url: str) -> base.NotFound | base.TransientPoll | Any:
        """The body of a good answer."""
        answer = await self._wire.call("GET", url, self._signed())
        code = field(body_of(answer), "code")
        if code in _NO_SUCH_TASK:
            return base.NotFound(reason=f"code {code}: {say(field(body_of(answer), 'message'))}")
        failure = poll_failure(answer)
        if failure is not None:
            return failure
        if code != 0:
            return base.TransientPoll(
                reason=f"code {str(code)[:20]}: {say(field(body_of(answer), 'message'))}"
            )
        return body_of(answer)

    async def _poll(self, request: base.PollRequest) -> base.PollResult:
        url = request.urls.get("get") or f"/v1/videos/{_KINDS[0]}/{escaped(request.external_id)}"
        body = await self._get(url)
        if isinstance(body, base.NotFound | base.TransientPoll):
            return body
        return other_job(field(body, "data.task_id"), request) or _read(field(body, "data"))

    async def cancel(self, request: base.PollRequest) -> base.CancelResult:
        return base.CancelUnsupported()

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, now_s: float) -> None:
        """Callbacks aren't signed; they are believed in nothing but that it is time to poll."""

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> base.WebhookHint:
        external_id = read_id(read_body(body).get("task_id"))
        if external_id is None:
            raise WebhookRefused("The callback names no task")
        return base.WebhookHint(external_id=external_id)


def _read(data: object) -> base.PollResult:
    return poll_result(
        field(data, "task_status"),
        STATUSES,
        brief(data, _KEPT),
        result=field(data, "task_result"),
        reason=say(field(data, "task_status_msg")),
    )


def token(access_key: str, secret_key: str, now_s: int) -> str:
    """A JWT (HS256) that is good for half an hour."""
    head = _part({"alg": "HS256", "typ": "JWT"})
    claims = _part({"iss": access_key, "exp": now_s + 1800, "nbf": now_s - 5})
    signed = f"{head}.{claims}"
    digest = hmac.new(secret_key.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_b64(digest)}"


def _part(value: dict[str, object]) -> str:
    return _b64(json.dumps(value, separators=(",", ":")).encode())


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
