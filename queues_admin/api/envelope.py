"""The two shapes of every answer: `success` with data, or an error with a stable code."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.http import HttpResponse

from jobs.operations.repeats import Answer

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a view hands back."""

    data: Any = None
    status: int = 200
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def success(reply: Reply) -> HttpResponse:
    body = {"success": True, "message": reply.message or "OK", "data": reply.data}
    return _response(body, reply.status, reply.headers)


def kept(reply: Reply) -> Answer:
    """A good answer as it is stored for an idempotency key."""
    body = success(reply).content.decode()
    return Answer(status=reply.status, body=body, headers=dict(reply.headers))


def again(answer: Answer, *, repeated: bool) -> HttpResponse:
    """A stored answer, marked as a repeat if it is one."""
    response = _plain(answer.body.encode(), answer.status, answer.headers, "application/json")
    if repeated:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def failure(
    status: int, message: str, error: Mapping[str, Any], headers: Mapping[str, str]
) -> HttpResponse:
    return _response({"success": False, "message": message, "error": error}, status, headers)


def problem(status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> HttpResponse:
    """RFC 9457."""
    return _response(body, status, headers, "application/problem+json")


def _response(
    body: Any, status: int, headers: Mapping[str, str], content_type: str = "application/json"
) -> HttpResponse:
    return _plain(_encode(body), status, headers, content_type)


def _plain(
    content: bytes, status: int, headers: Mapping[str, str], content_type: str
) -> HttpResponse:
    response = HttpResponse(content, status=status, content_type=content_type)
    response.headers["Cache-Control"] = "no-store"
    for name, value in headers.items():
        response.headers[name] = value
    return response
