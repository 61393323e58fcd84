"""HTTP as we do it with strangers: pooled, guarded, no redirects, bounded in size and time, strict JSON."""

import asyncio
import functools
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import aiohttp
from yarl import URL

from jobs.domain.errors import TaskCenterError
from jobs.platforms.connections import Client
from jobs.platforms.guard import TargetRefused

MAX_BODY_BYTES = 5_000_000
TOTAL_S = 60.0
CONNECT_S = 5.0
SILENT_S = 30.0
_MAX_DEPTH = 64
_MAX_RETRY_AFTER_S = 3600.0
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_PLAIN_URL = re.compile(r"[\x21-\x7e]+")
_REDIRECTS = (301, 302, 303, 307, 308)


class Unfit(ValueError):
    """A request that cannot be put on the wire; the text repeats nothing of it, for it may hold a credential."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An HTTP answer. `problem` says why `body` isn't there: not JSON, too large, redirect… Header names: any case."""

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


_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, Unfit)


async def exchange(
    client: Client,
    method: str,
    url: str,
    *,
    allow_private: bool = False,
    max_bytes: int = MAX_BODY_BYTES,
    total_s: float | None = None,
    headers: Mapping[str, str] | None = None,
    json: object = None,
    params: Mapping[str, str] | None = None,
    form: aiohttp.FormData | None = None,
) -> Answer | NoAnswer:
    """One request and its whole answer; what is sent is `json`, or `form`."""
    answered = False
    try:
        data: bytes | aiohttp.FormData | None = form
        given = headers or {}
        if json is not None:
            data, given = _text(json), {"Content-Type": "application/json", **given}
        response = await send(
            client,
            method,
            url,
            allow_private=allow_private,
            limits=limits(total_s),
            headers=given,
            data=data,
            params=params,
        )
        answered = True
        async with response:
            return _read(response, await _bounded(response, max_bytes))
    except (TaskCenterError, *_NOT_SENT) as error:
        barred = isinstance(error, TargetRefused)
        kept = barred or isinstance(error, Unfit)
        return NoAnswer(reason=say(error), sent=answered, kept=kept, barred=barred)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return NoAnswer(reason=say(error), sent=True)


@functools.lru_cache(maxsize=64)
def limits(total_s: float | None = None) -> aiohttp.ClientTimeout:
    """Seconds for the whole exchange, for its connection, and for how long the other side may be silent."""
    whole_s = total_s or TOTAL_S
    return aiohttp.ClientTimeout(
        total=whole_s,
        connect=min(2 * CONNECT_S, whole_s),
        sock_connect=min(CONNECT_S, whole_s),
        sock_read=max(SILENT_S, whole_s if total_s else 0),
    )


async def send(
    client: Client,
    method: str,
    url: str,
    *,
    allow_private: bool,
    limits: aiohttp.ClientTimeout,
    headers: Mapping[str, str],
    data: bytes | aiohttp.FormData | None = None,
    params: Mapping[str, str] | None = None,
) -> aiohttp.ClientResponse:
    """The answer's head; leave it by `async with`. Raises Unfit, TaskCenterError (guard), aiohttp's, TimeoutError."""
    target = _target(url)
    _check(headers)
    # What the loop has not yet read of a kept connection may be its end, and nothing is sent twice.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    session = client.session(allow_private=allow_private)
    try:
        return await session.request(
            method,
            target,
            headers=headers,
            data=data,
            params=params,
            timeout=limits,
            allow_redirects=False,
        )
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise TargetRefused("The address has no valid host") from error


def _target(url: str) -> URL:
    """As it is, when nothing in it needs to be quoted: a signed URL must not be rewritten."""
    try:
        return URL(url, encoded=_PLAIN_URL.fullmatch(url) is not None)
    except (ValueError, TypeError) as error:
        raise Unfit("the request cannot be built: the address is none") from error


def _check(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
            raise Unfit(f"the request cannot be built: header {name[:50]!r} cannot be sent")


def _text(value: object) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Unfit(f"the request cannot be built: {type(error).__name__}") from error


def say(error: Exception) -> str:
    """What went wrong, without the URL's query and without what came of the answer: both may hold a secret."""
    if isinstance(error, Unfit):
        return str(error)
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{type(error).__name__}: the answer is not HTTP as it should be"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"{type(error).__name__}: no connection in time"
    return f"{type(error).__name__}: {error}"[:500]


async def _bounded(response: aiohttp.ClientResponse, max_bytes: int) -> bytes | None:
    """The body, or None as soon as it is longer than allowed."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            response.close()
            return None
    return bytes(body)


def _read(response: aiohttp.ClientResponse, raw: bytes | None) -> Answer:
    body, problem = None, None
    if raw is None:
        problem = "the answer is too large"
    elif response.status in _REDIRECTS and "location" in response.headers:
        problem = "the answer is a redirect, which is not followed"
    elif response.headers.get("content-encoding", "identity") != "identity":
        # We asked for none; a few compressed kilobytes can be gigabytes.
        problem = "the answer is compressed"
    elif not raw.strip():
        problem = "the answer is empty"
    else:
        try:
            body = strict_json(raw)
        except ValueError as error:
            problem = f"the answer is not JSON: {error}"[:300]
    return Answer(status_code=response.status, headers=response.headers, body=body, problem=problem)


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
