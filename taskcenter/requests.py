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
        return response


def _identify(request: Any) -> tuple[str, str]:
    meta, fresh = request.META, os.urandom(40).hex()
    given = meta.get("HTTP_X_REQUEST_ID", "")
    request.request_id = given if _REQUEST_ID.fullmatch(given) else fresh[:32]
    parent = meta.get("HTTP_TRACEPARENT", "").strip()
    found = _TRACEPARENT.fullmatch(parent)
    request.trace_id = found[1] if found else fresh[32:64]
    request.traceparent = parent if found else f"00-{request.trace_id}-{fresh[64:]}-01"
    return request.request_id, request.trace_id
