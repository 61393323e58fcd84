"""HTTP as we do it with strangers: pooled, guarded, no redirects, bounded in size and time, strict JSON."""

import asyncio
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import httpx

from jobs.domain.errors import TaskCenterError
from jobs.platforms.connections import GuardedTransport
from jobs.platforms.guard import TargetRefused

MAX_BODY_BYTES = 5_000_000
TOTAL_S = 60.0
_TIMEOUT = httpx.Timeout(connect=5.0, read=30.0, write=30.0, pool=10.0)
_MAX_DEPTH = 64
_MAX_RETRY_AFTER_S = 3600.0


def make_client() -> httpx.AsyncClient:
    """The client for all platforms and callbacks of one event loop; close it with `aclose()`."""
    return httpx.AsyncClient(
        transport=GuardedTransport(),
        timeout=_TIMEOUT,
        follow_redirects=False,
        trust_env=False,
        headers={
            "User-Agent": "TaskCenter/1",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        },
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An HTTP answer. `problem` says why `body` isn't there: not JSON, too large, redirect…"""

    status_code: int
    headers: Mapping[str, str]
    body: object = None
    problem: str | None = None

    @property
    def ok(self) -> bool:
        return 200 <= self.status_code < 300

    @property
    def retry_after_s(self) -> float | None:
        return read_retry_after(self.headers)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoAnswer:
    """No HTTP answer. `sent=False`: the request certainly never reached the platform's software.

    `kept`: by ourselves, so that it says nothing of the service; `barred`: because its address may not be called.
    """

    reason: str
    sent: bool
    kept: bool = False
    barred: bool = False


_UNFIT = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, *_UNFIT)


async def exchange(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    allow_private: bool = False,
    max_bytes: int = MAX_BODY_BYTES,
    total_s: float | None = None,
    **parts: Any,
) -> Answer | NoAnswer:
    """One request and its whole answer; `parts` are httpx's (headers, json, content, files, data)."""
    extensions = {"allow_private": allow_private, "timeout": _TIMEOUT.as_dict()}
    try:
        request = client.build_request(method, url, extensions=extensions, **parts)
    except (httpx.InvalidURL, TypeError, ValueError) as error:
        # A header, URL or body that cannot be put on the wire (a credential with a line feed).
        reason = f"the request cannot be built: {type(error).__name__}"
        return NoAnswer(reason=reason, sent=False, kept=True)
    answered = False
    try:
        async with asyncio.timeout(total_s or TOTAL_S):
            response = await client.send(request, stream=True)
            answered = True
            try:
                return _read(response, await _bounded(response, max_bytes))
            finally:
                await response.aclose()
    except (TaskCenterError, *_NOT_SENT) as error:
        barred = isinstance(error, TargetRefused)
        kept = barred or isinstance(error, _UNFIT)
        return NoAnswer(reason=_say(error), sent=answered, kept=kept, barred=barred)
    except (httpx.HTTPError, httpx.StreamError, TimeoutError, ValueError) as error:
        return NoAnswer(reason=_say(error), sent=True)


def _say(error: Exception) -> str:
    if isinstance(error, httpx.LocalProtocolError):
        # Its text repeats the header, credential and all.
        return "LocalProtocolError: the request cannot be put on the wire"
    return f"{type(error).__name__}: {error}"[:500]


async def _bounded(response: httpx.Response, max_bytes: int) -> bytes | None:
    """The body, or None as soon as it is longer than allowed."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            return None
    return bytes(body)


def _read(response: httpx.Response, raw: bytes | None) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    body, problem = None, None
    if raw is None:
        problem = "the answer is too large"
    elif response.is_redirect:
        problem = "the answer is a redirect, which is not followed"
    elif headers.get("content-encoding", "identity") != "identity":
        # We asked for none; a few compressed kilobytes can be gigabytes.
        problem = "the answer is compressed"
    elif not raw.strip():
        problem = "the answer is empty"
    else:
        try:
            body = strict_json(raw)
        except ValueError as error:
            problem = f"the answer is not JSON: {error}"[:300]
    return Answer(status_code=response.status_code, headers=headers, body=body, problem=problem)


def strict_json(raw: bytes) -> Any:
    """Parse JSON a database can keep: no NaN, no infinity, no NUL (replaced), bounded depth. Raises ValueError."""
    try:
        value = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return _storable(value, _MAX_DEPTH)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is out of range")
    return value


def _storable(value: Any, depth: int) -> Any:
    if depth < 0:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, list):
        return [_storable(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _storable(item, depth - 1) for key, item in value.items()}
    return value


def _clean(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from a number or a date (by the sender's own clock), at most an hour."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return min(float(text[:6]), _MAX_RETRY_AFTER_S)
    try:
        then = parsedate_to_datetime(text).timestamp()
        now = (
            parsedate_to_datetime(headers["date"]).timestamp() if "date" in headers else time.time()
        )
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return min(max(0.0, then - now), _MAX_RETRY_AFTER_S)
