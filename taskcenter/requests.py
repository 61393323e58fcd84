"""Every request gets an id and a trace id, in its log lines and in its answer."""

import os
import re
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from structlog.contextvars import bound_contextvars, clear_contextvars

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


class RequestContextMiddleware:
    """Takes X-Request-ID and W3C traceparent over from the caller, or makes new ones.

    Sets `request.request_id`, `request.trace_id` (32 hex digits) and `request.traceparent`.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id, trace_id = _identify(request)
        clear_contextvars()
        with bound_contextvars(request_id=request_id, trace_id=trace_id):
            response = self._get_response(request)
        response["X-Request-ID"] = request_id
        if _left_body(
            request
        ):  # the server will hang up: said now, no next request is lost on the way
            response["Connection"] = "close"
        return response


def _left_body(request: Any) -> bool:
    """Whether a body was announced that nobody read: it was refused by its headers alone.

    Reading it here would let a slow stranger hold a thread. Only a server that passes the header on is told.
    """
    meta = request.META
    announced = (
        meta.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in meta
    )
    ours = meta.get("SERVER_SOFTWARE", "").startswith("Granian")
    return ours and announced and not getattr(request, "_read_started", True)


def _identify(request: Any) -> tuple[str, str]:
    meta, fresh = request.META, os.urandom(40).hex()
    given = meta.get("HTTP_X_REQUEST_ID", "")
    request.request_id = given if _REQUEST_ID.fullmatch(given) else fresh[:32]
    parent = meta.get("HTTP_TRACEPARENT", "").strip()
    found = _TRACEPARENT.fullmatch(parent)
    request.trace_id = found[1] if found else fresh[32:64]
    request.traceparent = parent if found else f"00-{request.trace_id}-{fresh[64:]}-01"
    return request.request_id, request.trace_id
