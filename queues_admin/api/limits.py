"""What callers may submit: public types, with the scope that each needs, and so many shards a request."""

from typing import Any

from jobs.domain.errors import TaskCenterError, TooLarge, UnknownType
from jobs.handlers.registry import Handler, public_handler
from jobs.operations.checks import MAX_SHARDS
from jobs.operations.planned_types import PERIODIC
from jobs.operations.requests import TaskRequest
from queues_admin.api import auth
from queues_admin.api.endpoint import Call


def check_type(call: Call, name: str) -> Handler:
    """Raises UnknownType (also for what only the engine submits), Forbidden (no scope for it, or read-only)."""
    found = public_handler(name)
    call.require(found.scope)
    if found.changes:
        auth.refuse_if_readonly()
    if not found.own and not call.of_house:
        # it works on what belongs to all tenants
        raise UnknownType("No handler is registered for task type '%(type)s'", type=name)
    return found


def check_request(call: Call, type_: str, payload: Any, shards: list[Any] | None = None) -> Handler:
    """Like `check_type`, also for the types that a `TaskPeriodic` would submit again and again."""
    found = check_type(call, type_)
    if found.name == PERIODIC:
        for asked in [payload] if shards is None else shards:
            inner = asked.get("type") if isinstance(asked, dict) else None
            if isinstance(inner, str):
                check_type(call, inner)
    return found


class Shards:
    """Counts the shards of one request's tasks: each becomes a row, and a few bytes can ask for thousands."""

    def __init__(self) -> None:
        self._left = MAX_SHARDS

    def take(self, request: TaskRequest, found: Handler) -> None:
        """Raises TooLarge when the items before it left too few; after that no other may fan out either."""
        if request.shards is None and found.shards is None:
            return
        count = _count(request, found) if self._left else 1
        if count > self._left:
            self._left = 0
            raise TooLarge(
                "The tasks of one request fan out into at most %(limit)s shards in all",
                limit=MAX_SHARDS,
            )
        self._left -= count


def _count(request: TaskRequest, found: Handler) -> int:
    if request.shards is not None:
        return len(request.shards)
    try:
        return len(found.shards(found.parse(request.payload))) if found.shards else 0
    except TaskCenterError:
        return 0  # the submit refuses it, with its reason
