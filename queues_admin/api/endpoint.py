"""What every endpoint has in common, said once in `@endpoint(...)` and read by the OpenAPI document too."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.views import APIView

from jobs.domain.errors import Forbidden, TaskCenterError
from jobs.operations import audits
from jobs.operations.keys import Caller
from queues_admin.api import auth, envelope, errors, openapi, parsing
from queues_admin.api.envelope import Reply


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """`action` names the change in the audit log; one that changes something without a name is a submit.

    `body`, `query`, `data` are the types of what comes in and goes out; `prefix` gathers `payload.<path>`.
    """

    summary: str
    scope: str
    action: str = ""
    body: Any = None
    query: Any = None
    data: Any = None
    statuses: tuple[int, ...] = (200,)
    raises: tuple[type[TaskCenterError], ...] = ()
    batch: bool = False
    optional_body: bool = False
    prefix: str | None = None


@dataclass(kw_only=True, slots=True)
class Call:
    """One authenticated request with what was parsed of it."""

    request: HttpRequest
    caller: Caller
    body: Any
    query: Any
    action: str
    address: str = field(init=False)

    def __post_init__(self) -> None:
        self.address = auth.address(self.request)

    @property
    def tenant_id(self) -> int:
        return self.caller.tenant_id

    @property
    def actor(self) -> str:
        return actor_of(self.caller)

    def require(self, scope: str) -> None:
        auth.require(self.caller, scope)

    @contextmanager
    def audited(
        self, target: str, *, reason: str = "", before: Any = None
    ) -> Iterator[dict[str, Any]]:
        """A change and its audit entry in one transaction; the dictionary yielded is what is noted as `after`."""
        after: dict[str, Any] = {}
        with transaction.atomic():
            yield after
            audits.record(
                actor=self.actor,
                address=self.address,
                action=self.action,
                target=target,
                reason=reason,
                before=before,
                after=after or None,
            )


def actor_of(caller: Caller) -> str:
    return f"key:{caller.name} ({caller.key_id})"


View = Callable[..., Reply]


def endpoint(**about: Any) -> Callable[[View], Callable[..., HttpResponse]]:
    """Turn `def post(self, call, <path parts>) -> Reply` into a handler; `about` are the fields of Endpoint."""
    spec = Endpoint(**about)

    def wrap(view: View) -> Callable[..., HttpResponse]:
        @functools.wraps(view)
        def handle(self: Any, request: HttpRequest, **path: str) -> HttpResponse:
            return _answer(spec, functools.partial(view, self), request, path)

        decorated: Callable[..., HttpResponse] = extend_schema(
            operation=openapi.operation(spec, view)
        )(handle)
        return decorated

    return wrap


class Api(APIView):
    """DRF's view for the router and the schema; the way of a request through it is ours, and shorter."""

    authentication_classes = []
    permission_classes = []

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        handler = (
            getattr(self, str(request.method).lower(), None) if request.method in _METHODS else None
        )
        if handler is None:
            allowed = [m for m in _METHODS if m != "HEAD" and hasattr(self, m.lower())]
            return errors.respond(request, errors.MethodNotAllowed(allowed=allowed))
        response: HttpResponse = handler(request, **kwargs)
        return response


_METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")


def _answer(spec: Endpoint, view: View, request: HttpRequest, path: dict[str, str]) -> HttpResponse:
    caller: Caller | None = None
    try:
        caller = auth.caller_of(request)
        auth.require(caller, spec.scope)
        if spec.action:
            auth.refuse_if_readonly()
        call = Call(
            request=request,
            caller=caller,
            body=_body(spec, request),
            query=parsing.query(request, spec.query or openapi.NoQuery, prefix=spec.prefix),
            action=spec.action,
        )
        return envelope.success(view(call, **path))
    except Exception as error:
        if isinstance(error, Forbidden) and caller is not None and spec.action:
            _note_refusal(spec, caller, request, error)
        return errors.respond(request, error)


def _body(spec: Endpoint, request: HttpRequest) -> Any:
    if spec.body is None:
        return None
    raw = parsing.raw_body(request, parsing.body_limit(batch=spec.batch))
    if spec.optional_body and not raw.strip():
        raw = b"{}"
    return parsing.decode(raw, spec.body)


def _note_refusal(spec: Endpoint, caller: Caller, request: HttpRequest, error: Forbidden) -> None:
    audits.record(
        actor=actor_of(caller),
        address=auth.address(request),
        action=spec.action,
        target=request.path,
        reason=error.message,
        refused=True,
    )
