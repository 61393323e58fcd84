"""`http:callback`: a signed HTTP request to somebody else's service, retried by the statuses the caller names."""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import aiohttp
import msgspec
from django.conf import settings

from jobs.builtin import signatures
from jobs.builtin.platform_http import client, db
from jobs.domain import headers
from jobs.domain.errors import Invalid, TaskCenterError
from jobs.domain.outcomes import Retry, SkipRetry
from jobs.handlers import Context, task
from jobs.platforms import guard, http
from jobs.store import catalog

MAX_ANSWER_BYTES = 4_096
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_STATUS_CLASS = re.compile(r"[1-5]xx")
_TRACE_ID = re.compile(r"[0-9a-f]{32}")


class Callback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`secret` names one of its tenant's in TASKCENTER["CALLBACK_SECRETS"]; `timeout`: seconds for the exchange."""

    url: str
    method: str = "POST"
    headers: dict[str, str] = {}
    body: Any = None
    secret: str | None = None
    retry_status: list[int | str] = msgspec.field(default_factory=lambda: [408, 429, "5xx"])
    timeout: Annotated[float, msgspec.Meta(ge=0.1, le=300)] = 30.0


class CallbackFailed(TaskCenterError):
    """The callback's receiver did not take it."""

    code = "callback_failed"


def _check(payload: Callback, tenant_id: int) -> None:
    """What could never be sent is refused at submit. Raises Invalid naming the field."""
    _method(payload)
    try:
        guard.split(payload.url)
    except guard.TargetRefused as error:
        raise Invalid(error.message, field="url") from error
    signatures.secret(payload.secret, tenant_id=tenant_id)
    headers.check(payload.headers, sent=True)
    for entry in payload.retry_status:
        if not _is_status(str(entry).lower()):
            raise Invalid(
                f"{entry!r} is no HTTP status; 503 or 5xx would be one", field="retry_status"
            )


@task("http:callback", queue="critical", timeout_s=330.0, check=_check)
async def deliver(payload: Callback, context: Context) -> dict[str, Any]:
    """2xx is success; a status in `retry_status` and a broken connection are tried again, all else is final."""
    return await _exchange(payload, await _request(payload, context))


@task("billing:deliver", queue="low", timeout_s=330.0, internal=True)
async def deliver_entry(payload: Callback, context: Context) -> dict[str, Any]:
    """The same for ledger entries: nobody but the ledger signs with billing's secret."""
    return await _exchange(payload, await _request(payload, context, internal=True))


async def _exchange(payload: Callback, sent: "_Sent") -> dict[str, Any]:
    try:
        status, answered, raw = await _send(payload, sent)
    except (guard.TargetRefused, http.Unfit) as error:
        raise SkipRetry(str(error)) from error
    except (TimeoutError, aiohttp.ClientError) as error:
        raise CallbackFailed(f"No answer from {sent.host}: {type(error).__name__}") from error
    if 200 <= status < 300:
        return {"status": status, "body": _readable(raw)}
    reason = f"{sent.host} answered {status}"
    if not _may_retry(status, payload.retry_status):
        raise SkipRetry(reason)
    after_s = http.read_retry_after(answered)
    if after_s is not None:
        raise Retry(after_s, reason=reason)
    raise CallbackFailed(reason, status=status)


@dataclass(frozen=True, kw_only=True)
class _Sent:
    method: str
    host: str
    headers: dict[str, str]
    content: bytes


async def _request(payload: Callback, context: Context, *, internal: bool = False) -> _Sent:
    """What leaves. Raises SkipRetry for what could never be sent."""
    try:
        method = _method(payload)
        _, host, _ = guard.split(payload.url)
        secret = await _secret(payload.secret, context.tenant_id, internal)
        given = _given(payload.headers)
    except Invalid as error:
        raise SkipRetry(str(error)) from error
    content = b"" if payload.body is None else msgspec.json.encode(payload.body)
    sent = {
        "content-type": "application/json",
        **given,
        **signatures.sign(secret, context.task_id, int(time.time()), content),
        "traceparent": _traceparent(context.trace_id),
        "accept-encoding": "identity",
    }
    return _Sent(method=method, host=host, headers=sent, content=content)


async def _secret(name: str | None, tenant_id: int, internal: bool) -> str:
    """A tenant's slug may have to be looked up, which the event loop must not wait for."""
    if tenant_id == catalog.DEFAULT_TENANT:
        return signatures.secret(name, internal=internal)
    return await db(signatures.secret, name, tenant_id=tenant_id)


def _method(payload: Callback) -> str:
    method = payload.method.upper()
    if method not in _METHODS:
        raise Invalid(
            f"{payload.method!r} is no HTTP method for a callback", field="method", known=_METHODS
        )
    return method


def _given(given: dict[str, str]) -> dict[str, str]:
    """Without ours, which tasks of before that rule may have. Raises Invalid."""
    headers.check(given, sent=False)
    return {name.lower(): value for name, value in given.items() if not headers.is_ours(name)}


async def _send(payload: Callback, sent: _Sent) -> tuple[int, Mapping[str, str], bytes]:
    """(status, headers, the first bytes of the body); what is longer is not read, what is compressed left out."""
    response = await http.send(
        await client(),
        sent.method,
        payload.url,
        allow_private=bool(settings.TASKCENTER["ALLOW_PRIVATE"]),
        limits=http.limits(payload.timeout),
        headers=sent.headers,
        data=sent.content,
    )
    raw = bytearray()
    async with response:
        async for chunk in response.content.iter_chunked(MAX_ANSWER_BYTES):
            raw += chunk
            if len(raw) > MAX_ANSWER_BYTES:
                response.close()
                break
    plain = response.headers.get("content-encoding", "identity").strip().lower() == "identity"
    return response.status, response.headers, bytes(raw) if plain else b""


def _readable(raw: bytes) -> Any:
    if len(raw) <= MAX_ANSWER_BYTES:
        try:
            return http.strict_json(raw)
        except ValueError:
            pass
    return raw[:MAX_ANSWER_BYTES].decode("utf-8", "replace").replace("\0", "\ufffd")


def _is_status(text: str) -> bool:
    is_number = text.isascii() and text.isdigit() and len(text) == 3 and "1" <= text[0] <= "5"
    return is_number or bool(_STATUS_CLASS.fullmatch(text))


def _may_retry(status: int, named: list[int | str]) -> bool:
    for entry in named:
        text = str(entry).lower()
        if text == str(status) or (_STATUS_CLASS.fullmatch(text) and text[0] == str(status)[0]):
            return True
    return False


def _traceparent(trace_id: str | None) -> str:
    known = trace_id if trace_id and _TRACE_ID.fullmatch(trace_id) and trace_id.strip("0") else None
    return f"00-{known or os.urandom(16).hex()}-{os.urandom(8).hex()}-01"
