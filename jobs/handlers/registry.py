"""The allow-list: only what was registered here can ever run, whatever stands in Redis."""

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from jobs.domain.errors import Invalid, Misconfigured, UnknownType
from jobs.domain.limits import Limit, check_key, limit_of
from jobs.domain.states import Lane
from jobs.handlers.failure import Hook
from jobs.lifecycle.policy import RetryPolicy

_F = TypeVar("_F", bound=Callable[..., Any])
Check = Callable[[Any, int], None]

PLATFORM_RUN = "platform:run"
_SCOPES = ("submit", "operate", "admin")
ALIASES = {"task:process": PLATFORM_RUN, "TaskCallback": "http:callback"}


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """Members of a group become one task of type `into`: `grace_s` after the newest, `max_delay_s` after the oldest,
    or when there are `max_size`. Its payload is `{"group": name, "members": [payload, …]}`.
    """

    into: str
    grace_s: float = 10.0
    max_delay_s: float = 60.0
    max_size: int = 100


@dataclass(frozen=True, kw_only=True)
class Handler:
    """One registered type. `shards` turns a payload into the payloads of `shard_type` tasks at submit.

    `lane_from` lets a payload choose its lane; the function must then suit each lane that it may name.
    `on_failure` is called after each failed run is settled, `on_exhausted` when the task went to the dead letters.
    `limit_key` may be made of the payload; without it a `limit` counts all tasks of the type.
    `internal`: only the engine itself submits it. `scope`: what an API key needs for it besides `submit`.
    `check(payload, tenant_id)` refuses at submit what could never run. `own`: it works on its tenant's things only.
    `total(task_id)` is the result of a parent whose shards have all succeeded; it only reads.
    `reads`: for all its scope it changes nothing in here, and passes while the system is read-only.
    """

    name: str
    function: Callable[..., Any]
    payload_type: Any
    takes_context: bool
    lane: Lane
    queue: str
    policy: RetryPolicy
    timeout_s: float | None
    retention_s: int | None
    unique_for_s: float | None
    shards: Callable[[Any], list[Any]] | None = None
    shard_type: str | None = None
    lane_from: Callable[[Any], Lane] | None = None
    aggregate: Aggregate | None = None
    on_failure: Hook | None = None
    on_exhausted: Hook | None = None
    internal: bool = False
    scope: str = "submit"
    limit_key: str | Callable[[Any], str | None] | None = None
    limit: int | Limit | None = None
    check: Check | None = None
    own: bool = False
    total: Callable[[UUID], Any] | None = None
    reads: bool = False

    @property
    def changes(self) -> bool:
        """Whether a submit of it is a change of the system itself, which ASYNQ_READONLY refuses."""
        return self.scope != "submit" and not self.reads

    def limit_key_of(self, parsed: Any) -> str | None:
        """The key of the limit for one parsed payload; None: no limit."""
        if callable(self.limit_key):
            return self.limit_key(parsed)
        return self.limit_key

    def lane_of(self, parsed: Any) -> Lane:
        """The lane for one parsed payload."""
        return self.lane if self.lane_from is None else self.lane_from(parsed)

    def parse(self, payload: Any) -> Any:
        """The payload as its declared type; raises Invalid naming the field that does not fit."""
        try:
            return msgspec.convert(payload, self.payload_type, strict=True)
        except msgspec.ValidationError as error:
            raise Invalid(
                "The payload does not fit %(type)s: %(reason)s", reason=str(error), type=self.name
            ) from error

    def parse_json(self, text: str) -> Any:
        """Like `parse` for stored JSON text."""
        try:
            return msgspec.json.decode(text, type=self.payload_type)
        except msgspec.DecodeError as error:
            raise Invalid(
                "The payload does not fit %(type)s: %(reason)s", reason=str(error), type=self.name
            ) from error


_HANDLERS: dict[str, Handler] = {}


def task(
    name: str,
    *,
    queue: str = "default",
    policy: RetryPolicy | None = None,
    timeout_s: float | None = None,
    retention_s: int | None = None,
    unique_for_s: float | None = None,
    isolated: bool = False,
    lane: Lane | None = None,
    shards: Callable[[Any], list[Any]] | None = None,
    shard_type: str | None = None,
    lane_from: Callable[[Any], Lane] | None = None,
    aggregate: Aggregate | None = None,
    on_failure: Hook | None = None,
    on_exhausted: Hook | None = None,
    internal: bool = False,
    scope: str = "submit",
    limit_key: str | Callable[[Any], str | None] | None = None,
    limit: int | Limit | None = None,
    check: Check | None = None,
    own: bool = False,
    total: Callable[[UUID], Any] | None = None,
    reads: bool = False,
) -> Callable[[_F], _F]:
    """Register a function as the handler of task type `name`.

    The first parameter's annotation is the payload's type (a msgspec Struct, a dataclass, dict …), a second
    parameter receives the Context. `async def` runs on the event loop, a plain function on a thread,
    `isolated=True` in a child process that can be killed. Raises Misconfigured for a name taken twice.
    `on_failure` and `on_exhausted` are called as `hook(payload, failure, error)`, see `jobs.handlers.failure`.
    `internal=True` hides it from callers of the API and the command line; `scope` is what a key needs for it: with
    one beyond `submit` it is the default tenant's, unless `own`, and refused while read-only, unless it `reads`.
    `check(payload, tenant_id)` may refuse a submit.
    `total(task_id)` makes a parent's result when its last shard has succeeded: quick, reading only.
    `limit=3` runs at most three at once over all workers: of the type, or of each `limit_key`.
    """
    if limit is not None:
        limit_of(limit)
        limit_key = name if limit_key is None else limit_key
    if isinstance(limit_key, str):
        check_key(limit_key)

    def register(function: _F) -> _F:
        if scope not in _SCOPES:
            raise Misconfigured(f"Task type {name!r} names no scope", scope=scope, known=_SCOPES)
        if name in _HANDLERS and _HANDLERS[name].function is not function:
            raise Misconfigured(f"Task type {name!r} is registered twice", second=repr(function))
        payload_type, takes_context = _signature(function)
        _HANDLERS[name] = Handler(
            name=name,
            function=function,
            payload_type=payload_type,
            takes_context=takes_context,
            lane=_lane(function, isolated) if lane is None else lane,
            queue=queue,
            policy=policy or RetryPolicy(),
            timeout_s=timeout_s,
            retention_s=retention_s,
            unique_for_s=unique_for_s,
            shards=shards,
            shard_type=shard_type,
            lane_from=lane_from,
            aggregate=aggregate,
            on_failure=on_failure,
            on_exhausted=on_exhausted,
            internal=internal,
            scope=scope,
            limit_key=limit_key,
            limit=limit,
            check=check,
            own=own or scope == "submit",
            total=total,
            reads=reads,
        )
        return function

    return register


def canonical(name: str) -> str:
    """The name under which a type is stored."""
    return ALIASES.get(name, name)


def handler(name: str) -> Handler:
    """The handler of a type; raises UnknownType."""
    found = _HANDLERS.get(canonical(name))
    if found is None:
        raise UnknownType("No handler is registered for task type '%(type)s'", type=name)
    return found


def public_handler(name: str) -> Handler:
    """The handler of a type that callers may ask for; raises UnknownType for what only the engine submits."""
    found = handler(name)
    if found.internal:
        raise UnknownType("No handler is registered for task type '%(type)s'", type=name)
    return found


def public_names() -> list[str]:
    """The types that callers may ask for, sorted."""
    return [name for name in names() if not _HANDLERS[name].internal]


def internal_names() -> list[str]:
    """The types that only the engine itself submits, sorted."""
    return [name for name in names() if _HANDLERS[name].internal]


def names() -> list[str]:
    """All registered types, sorted."""
    return sorted(_HANDLERS)


def aggregates() -> list[Aggregate]:
    """The rules of all types that can be grouped."""
    return [found.aggregate for found in _HANDLERS.values() if found.aggregate is not None]


def totals() -> dict[str, Callable[[UUID], Any]]:
    """The types whose parents have a result of their own."""
    return {name: found.total for name, found in _HANDLERS.items() if found.total is not None}


def _lane(function: Callable[..., Any], isolated: bool) -> Lane:
    if isolated:
        return Lane.PROCESS
    return Lane.ASYNC if inspect.iscoroutinefunction(function) else Lane.THREAD


def _signature(function: Callable[..., Any]) -> tuple[Any, bool]:
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters:
        raise Misconfigured(f"Handler {function!r} takes no payload: give it one parameter")
    hints = typing.get_type_hints(function)
    return hints.get(parameters[0].name, Any), len(parameters) > 1
