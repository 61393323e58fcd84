"""fal's queue. Payload: `{"app": "owner/app[/path]", "arguments": {…}}`.

There is no failed status: failure and cancellation are COMPLETED with `error` and `error_type`. fal's own
retries are switched off, they would multiply with ours.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from jobs.domain.states import Status
from jobs.platforms import base
from jobs.platforms.complaints import CommonOptions, Complaint, address, gettext_noop
from jobs.platforms.connections import Client
from jobs.platforms.http import Answer, exchange, strict_json
from jobs.platforms.usual import UsualAdapter
from jobs.platforms.webhooks import WebhookRefused, read_body, read_jwks, verify_fal
from jobs.platforms.wire import cancel_failure, escaped, poll_failure, submit_failure
from jobs.platforms.words import (
    body_of,
    brief,
    field,
    open_result,
    other_job,
    problem,
    read_id,
    say,
)

STATUSES = {
    "IN_QUEUE": Status.QUEUED,
    "IN_PROGRESS": Status.IN_PROGRESS,
    "COMPLETED": Status.SUCCESS,
}
JWKS_URL = "https://rest.alpha.fal.ai/.well-known/jwks.json"
_APP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)+")
_NAMESPACES = ("workflows", "comfy")
_CANCELLED = ("client_cancelled", "request_cancelled", "cancelled", "canceled")
_KEPT = ("status", "request_id", "queue_position", "error", "error_type", "metrics")
_KEYS_FOR_S = 86_400.0
_keys: dict[str, tuple[float, list[bytes]]] = {}
_ = gettext_noop


class FalOptions(CommonOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    jwks_url: str = JWKS_URL


class FalAdapter(UsualAdapter):
    """`webhook_secret` may hold a JWKS document; without one fal's own is fetched (option `jwks_url`)."""

    protocol: ClassVar[str] = "fal"
    two_phase_cancel: ClassVar[bool] = True
    options_type: ClassVar[type[FalOptions]] = FalOptions

    @staticmethod
    def complaints(config: base.PlatformConfig) -> Iterator[Complaint]:
        if config.webhook_secret and not _usable(config.webhook_secret):
            message = _(
                "The webhook secret of this protocol is a JWKS document (JSON) with an Ed25519 key;"
                " without one the platform's own is fetched"
            )
            yield Complaint(field="webhook_secret", message=message)
        url = config.options.get("jwks_url", JWKS_URL)
        if isinstance(url, str) and any(address(url, allow_private=True)):
            message = _(
                "Option '%(option)s' must be an address that begins with http:// or https://"
            )
            yield Complaint(field="options", message=message, params={"option": "jwks_url"})

    def __init__(self, config: base.PlatformConfig, client: Client) -> None:
        super().__init__(config, client, headers={"Authorization": f"Key {config.credential}"})
        self._client = client
        self._jwks_url = str(config.options.get("jwks_url", JWKS_URL))

    async def submit(self, request: base.SubmitRequest) -> base.SubmitResult:
        app, arguments = request.payload.get("app"), request.payload.get("arguments")
        if not isinstance(app, str) or not _APP.fullmatch(app) or not isinstance(arguments, dict):
            return base.Rejected(
                reason="the payload needs `app` (owner/app) and `arguments` (object)"
            )
        headers = self._headers | {
            "X-Fal-No-Retry": "1",
            "X-Fal-Request-Timeout": str(max(2, self._config.time_limit_s)),
        }
        query = {"fal_webhook": request.webhook_url} if request.webhook_url else None
        answer = await self._wire.call("POST", f"/{app}", headers, json=arguments, params=query)
        return submit_failure(answer) or self._accepted(body_of(answer), app)

    def _accepted(self, body: object, app: str) -> base.SubmitResult:
        external_id = read_id(field(body, "request_id"))
        if external_id is None:
            return base.Ambiguous(reason="the answer to the submit has no request id")
        word = field(body, "status")
        raw = word if isinstance(word, str) and word in STATUSES else "IN_QUEUE"
        # Built by fal's rule (a sub-path is dropped) in case it gave no URLs of its own.
        below = f"{self._wire.base}/{_owner_app(app)}/requests/{escaped(external_id)}"
        urls = {"status": f"{below}/status", "response": below, "cancel": f"{below}/cancel"}
        return base.Accepted(
            external_id=external_id,
            status=Status.IN_PROGRESS if raw == "IN_PROGRESS" else Status.QUEUED,
            raw_status=raw,
            urls=urls | self._wire.own_urls({k: field(body, f"{k}_url") for k in urls}),
            answer=brief(body, _KEPT),
        )

    async def _poll(self, request: base.PollRequest) -> base.PollResult:
        answer = await self._wire.call("GET", request.urls.get("status", ""), self._headers)
        failure = poll_failure(answer)
        if failure is not None:
            return failure
        body = body_of(answer)
        named = field(body, "request_id")
        stray = None if named is None else other_job(named, request)
        kept = brief(body, _KEPT)
        early = stray or open_result(field(body, "status"), STATUSES, kept)
        if early is not None:
            return early
        if field(body, "error") is not None or field(body, "error_type") is not None:
            return _ended_badly(body, kept)
        return await self._result(request, kept)

    async def _result(self, request: base.PollRequest, kept: object) -> base.PollResult:
        """The result behind `response_url`; an app's own 4xx/5xx there is how the request failed."""
        answer = await self._wire.call("GET", request.urls.get("response", ""), self._headers)
        if isinstance(answer, Answer):
            kind = answer.headers.get("x-fal-error-type") or field(answer.body, "error_type")
            if answer.status_code == 422 or (kind is not None and not answer.ok):
                if kind in _CANCELLED:
                    return base.Cancelled(raw_status="COMPLETED", answer=kept)
                return base.Failed(reason=problem(answer), raw_status="COMPLETED", answer=kept)
        done = base.Succeeded(result=body_of(answer), raw_status="COMPLETED", answer=kept)
        return poll_failure(answer) or done

    async def cancel(self, request: base.PollRequest) -> base.CancelResult:
        """400 ALREADY_COMPLETED is TooLate, 404 NOT_FOUND is CancelNotFound, 202 is requested only."""
        answer = await self._wire.call("PUT", request.urls.get("cancel", ""), self._headers)
        failure = cancel_failure(answer)
        if failure is not None:
            return failure
        word = field(body_of(answer), "status")
        return base.CancelRequested(raw_status=word[:200] if isinstance(word, str) else None)

    async def prepare_webhook(self, now_s: float) -> None:
        """Fetch the public keys unless they are stored or younger than a day."""
        fetched_s, keys = _keys.get(self._jwks_url, (0.0, []))
        if self._config.webhook_secret or (keys and now_s - fetched_s < _KEYS_FOR_S):
            return
        private = self._config.allow_private
        answer = await exchange(self._client, "GET", self._jwks_url, allow_private=private)
        if found := read_jwks(body_of(answer)):
            _keys[self._jwks_url] = (now_s, found)

    def verify_webhook(self, headers: Mapping[str, str], body: bytes, now_s: float) -> None:
        verify_fal(self._public_keys(now_s), headers, body, now_s)

    def _public_keys(self, now_s: float) -> list[bytes]:
        if self._config.webhook_secret:
            try:
                return read_jwks(strict_json(self._config.webhook_secret.encode()))
            except ValueError as error:
                raise WebhookRefused("The stored webhook secret is no JWKS document") from error
        fetched_s, keys = _keys.get(self._jwks_url, (0.0, []))
        if now_s - fetched_s >= _KEYS_FOR_S:
            raise WebhookRefused("The public keys of fal are not at hand")
        return keys

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> base.WebhookHint:
        event = read_body(body)
        external_id = read_id(event.get("request_id"))
        if external_id is None:
            raise WebhookRefused("The webhook names no request")
        result: base.PollResult | None = None
        if event.get("status") == "ERROR":
            result = _ended_badly(event, None)
        elif event.get("status") == "OK" and event.get("payload") is not None:
            result = base.Succeeded(result=event["payload"], raw_status="COMPLETED")
        return base.WebhookHint(
            external_id=external_id, result=result, delivery_id=f"fal:{external_id}"
        )


def forget_keys() -> None:
    """For an operator who knows that fal has changed its keys."""
    _keys.clear()


def _ended_badly(body: Any, kept: object) -> base.PollResult:
    if field(body, "error_type") in _CANCELLED:
        return base.Cancelled(raw_status="COMPLETED", answer=kept)
    reason = say(field(body, "error"), say(field(body, "error_type")))
    return base.Failed(reason=reason, raw_status="COMPLETED", answer=kept)


def _owner_app(app: str) -> str:
    parts = app.split("/")
    return "/".join(parts[: 3 if parts[0] in _NAMESPACES else 2])


def _usable(document: str) -> bool:
    try:
        return bool(read_jwks(strict_json(document.encode())))
    except ValueError:
        return False
