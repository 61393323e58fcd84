"""What every endpoint has in common, said once in `@endpoint(...)` and read by the OpenAPI document too."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import msgspec
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.views import APIView

from jobs.domain.errors import (
    Forbidden,
    Invalid,
    NotFound,
    TaskCenterError,
    TaskNotFound,
    shortened,
)
from jobs.operations import audits, repeats, tenants
from jobs.operations.keys import Caller
from jobs.selectors.paging import part
from jobs.store import catalog, wall
from queues_admin.api import auth, envelope, errors, openapi, parsing, throttle
from queues_admin.api.bodies import TenantQuery, WithReason
from queues_admin.api.envelope import Reply


class Repeats(Enum):
    """WHOLE: key, change and answer are one transaction. STEPS: the change is many. OWN: the view sees to it."""

    WHOLE = "whole"
    STEPS = "steps"
    OWN = "own"


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """`action` names the change in the audit log; one that changes something without a name is a submit.

    `body`, `query`, `data` are the types of what comes in and goes out; `prefix` gathers `payload.<path>`.
    `repeats`: what an Idempotency-Key does on a POST. `own_wall`: a GET that waits, without a transaction.
    `of_any_tenant`: the query's `tenant` says whose things are meant, for admins of the default tenant.
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
    repeats: Repeats = Repeats.WHOLE
    own_wall: bool = False
    of_any_tenant: bool = False


@dataclass(kw_only=True, slots=True)
class Call:
    """One authenticated request with what was parsed of it; `meant`: the tenant that an operator named by `slug`."""

    request: HttpRequest
    caller: Caller
    body: Any
    query: Any
    action: str
    meant: int | None = None
    slug: str = ""
    address: str = field(init=False)

    def __post_init__(self) -> None:
        self.address = auth.address(self.request)

    @property
    def tenant_id(self) -> int:
        """Whose things this is about: the caller's, unless an operator named another tenant."""
        return self.caller.tenant_id if self.meant is None else self.meant

    @property
    def actor(self) -> str:
        return actor_of(self.caller)

    @property
    def sees(self) -> int | None:
        """The tenant whose queues and keys this caller sees; None for admins of the default tenant, who see all."""
        return None if self.of_house and "admin" in self.caller.scopes else self.caller.tenant_id

    @property
    def of_house(self) -> bool:
        return self.caller.tenant_id == catalog.DEFAULT_TENANT

    def mean(self, slug: str) -> None:
        """The tenant that the query names. Raises Forbidden, NotFound."""
        if self.sees is not None:
            raise Forbidden("`tenant` is for keys with scope admin of the default tenant")
        self.meant, self.slug = tenants.id_of(slug), slug

    def house_only(self) -> None:
        """What all tenants share is there for keys of the default tenant only. Raises NotFound."""
        if not self.of_house:
            raise NotFound("There is no such endpoint", path=self.request.path)

    def page(self, items: Sequence[Any]) -> Reply:
        """The part of a list, read as a whole, that the query (ShortListQuery) asks for."""
        return Reply(data=part(items, self.query.cursor, self.query.limit))

    def wall(self) -> AbstractContextManager[None]:
        """Around reads: for keys of other tenants a transaction that sees their own rows only."""
        if self.of_house or not wall.is_built():
            return nullcontext()
        return wall.behind(self.tenant_id)

    def require(self, scope: str) -> None:
        auth.require(self.caller, scope)

    @contextmanager
    def audited(
        self, target: str, *, reason: str = "", before: Any = None
    ) -> Iterator[dict[str, Any]]:
        """A change and its audit entry in one transaction; the dictionary yielded is what is noted as `after`.

        A tenant that was named is noted too: numbers of users and names of schedules are each tenant's own.
        """
        foreign = self.tenant_id != self.caller.tenant_id
        after: dict[str, Any] = {"tenant": self.slug} if foreign else {}
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
                tenant_id=self.caller.tenant_id,
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


def steering(**about: Any) -> Callable[[View], Callable[..., HttpResponse]]:
    """An endpoint for an operator's hand on something that goes on: scope operate, and a body with a reason or none."""
    return endpoint(scope="operate", body=WithReason, optional_body=True, **about)


def on_tasks(**about: Any) -> Callable[[View], Callable[..., HttpResponse]]:
    """An endpoint for what operators do to tasks: scope operate, and admins of the house say whose tasks they mean."""
    return endpoint(scope="operate", query=TenantQuery, of_any_tenant=True, **about)


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
    call: Call | None = None
    share: throttle.Share | None = None
    try:
        caller = auth.caller_of(request)
        share = throttle.take(caller)
        throttle.refuse_if_over(share)
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
        if spec.of_any_tenant and call.query.tenant is not None:
            call.mean(call.query.tenant)
        response = _carried_out(spec, call, functools.partial(view, call, **path))
    except Exception as error:
        _name_as_sent(error, path, call)
        if isinstance(error, Forbidden) and caller is not None and spec.action:
            _note_refusal(spec, caller, request, error)
        response = errors.respond(request, error)
    for name, value in (share.headers if share is not None else {}).items():
        response.headers[name] = value
    return response


def _carried_out(spec: Endpoint, call: Call, view: Callable[[], Reply]) -> HttpResponse:
    """With an Idempotency-Key a change is made once, and whoever asks again gets the first answer."""
    key = call.request.META.get("HTTP_IDEMPOTENCY_KEY")
    if call.request.method == "GET" and not spec.own_wall:
        with call.wall():
            return envelope.success(view())
    if key is None or call.request.method != "POST" or spec.repeats is Repeats.OWN:
        return envelope.success(view())
    if not 1 <= len(key) <= 512 or not key.isprintable():
        raise Invalid("Idempotency-Key has 1 to 512 printable characters", field="idempotency_key")
    what = f"POST {call.request.path}"
    asked = [what, call.body] if call.meant is None else [what, call.body, call.meant]
    request = repeats.Once(
        tenant_id=call.caller.tenant_id,
        what=what,
        key=key,
        asked=msgspec.json.encode(asked, order="deterministic"),
        whole=spec.repeats is Repeats.WHOLE,
    )
    answer, repeated = repeats.once(request, lambda: envelope.kept(view()))
    return envelope.again(answer, repeated=repeated)


def _body(spec: Endpoint, request: HttpRequest) -> Any:
    if spec.body is None:
        return None
    raw = parsing.raw_body(request, parsing.body_limit(batch=spec.batch))
    if spec.optional_body and not raw.strip():
        raw = b"{}"
    return parsing.decode(raw, spec.body)


def _name_as_sent(error: Exception, path: dict[str, str], call: Call | None) -> None:
    """Who asked for a task by a name of their own hears that name, not the id behind it."""
    sent = path.get("task_id") or getattr(call.body if call else None, "task_id", None)
    if isinstance(error, TaskNotFound) and isinstance(sent, str):
        error.details["task_id"] = shortened(sent)


def _note_refusal(spec: Endpoint, caller: Caller, request: HttpRequest, error: Forbidden) -> None:
    audits.record(
        actor=actor_of(caller),
        address=auth.address(request),
        action=spec.action,
        target=request.path,
        reason=error.message,
        refused=True,
        tenant_id=caller.tenant_id,
    )
