"""Bodies and query strings: limits first, then msgspec, then ours. 400 unreadable, 413 too large, 422 wrong."""

import json
from typing import Any

import msgspec
from django.conf import settings
from django.http import HttpRequest

from jobs.domain.errors import Invalid, Malformed, TaskCenterError, TooLarge
from jobs.operations.checks import check_text
from queues_admin.api.complaints import fault

KIB, MIB = 1024, 1024 * 1024
_MOST_DIGITS = 18


def body_limit(*, batch: bool = False) -> int:
    """The most bytes of a body: 8 MiB for batches, else 1 MiB or what one payload may have."""
    return 8 * MIB if batch else max(MIB, int(settings.TASKCENTER["MAX_PAYLOAD_BYTES"]) + 64 * KIB)


def raw_body(request: HttpRequest, limit: int) -> bytes:
    """The body's bytes, refused by their announced length before they are read. Raises TooLarge, Malformed."""
    announced = request.META.get("CONTENT_LENGTH") or "0"
    if not announced.isdecimal() or len(announced) > _MOST_DIGITS:
        raise Malformed("Content-Length is not a number")
    if int(announced) > limit:
        raise TooLarge(
            "The body has %(announced)s bytes, at most %(limit_bytes)s are allowed",
            announced=announced,
            limit_bytes=limit,
        )
    raw = request.body
    if len(raw) > limit:
        raise TooLarge("The body has more than %(limit_bytes)s bytes", limit_bytes=limit)
    return raw


def decode(raw: bytes, shape: Any) -> Any:
    """JSON as `shape`. Raises Malformed (not JSON, no object, unknown field), TooLarge (too deep), Invalid."""
    if not raw.strip():
        raise Malformed("The body is empty; it must be a JSON object")
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError as error:
        raise fault(str(error)) from error
    except RecursionError as error:
        raise TooLarge("The JSON is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unreadable(raw, str(error)) from error


def query(request: HttpRequest, shape: Any, *, prefix: str | None = None) -> Any:
    """The query string as `shape`; parameters `<prefix><name>` are gathered in its field `payload`."""
    given: dict[str, Any] = {}
    gathered: dict[str, str] = {}
    for name, value in request.GET.items():
        text = str(value)
        check_text(name)
        check_text(text)
        if prefix is not None and name.startswith(prefix):
            gathered[name.removeprefix(prefix)] = text
        else:
            given[name] = text
    if prefix is not None:
        if "payload" in given:
            raise Malformed("Unknown parameter `payload`", field="payload")
        given["payload"] = gathered
    try:
        found = msgspec.convert(given, shape, strict=False)
    except msgspec.ValidationError as error:
        raise fault(str(error)) from error
    for name, text in given.items():
        if (
            getattr(found, name) is None
        ):  # msgspec reads the text `null` as None: not a missing filter
            raise Invalid("`%(field)s` cannot be %(text)s", text=text, field=name)
    return found


def _unreadable(raw: bytes, message: str) -> TaskCenterError:
    """Lone surrogates are readable JSON that nobody can store; everything else is not JSON."""
    try:
        json.loads(raw.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return Malformed("The body is not JSON: %(reason)s", reason=message)
    return Invalid("Text must not contain lone surrogates")


def _refuse(constant: str) -> None:
    raise ValueError(constant)
