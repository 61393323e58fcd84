"""Two names of the work plan that say when rather than what: `TaskScheduled` and `TaskPeriodic`."""

from datetime import datetime
from typing import Any

import msgspec

from jobs.domain.errors import Invalid, UnknownType
from jobs.operations.requests import TaskRequest

ONCE = "TaskScheduled"
PERIODIC = "TaskPeriodic"


class Once(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run later: at a time, or so many seconds from now."""

    type: str
    payload: Any = {}
    process_at: datetime | None = None
    in_s: float | None = msgspec.field(name="in", default=None)


def unfolded(request: TaskRequest) -> TaskRequest:
    """A `TaskScheduled` as the task that it asks for; every other request as it is. Raises Invalid, UnknownType.

    Its other options (queue, tags, user …) are that task's.
    """
    if request.type != ONCE:
        return request
    try:
        asked = msgspec.convert(request.payload, Once, strict=True)
    except msgspec.ValidationError as error:
        raise Invalid(
            "The payload does not fit %(type)s: %(reason)s",
            type=ONCE,
            reason=str(error),
            field="payload",
        ) from error
    if (asked.process_at is None) is (asked.in_s is None):
        raise Invalid("%(type)s needs one of `process_at` and `in`", type=ONCE, field="payload")
    if request.process_in is not None or request.process_at is not None:
        raise Invalid("%(type)s says its time in its payload", type=ONCE, field="process_at")
    if asked.type == ONCE:
        raise UnknownType("%(type)s runs another type", type=ONCE)
    return msgspec.structs.replace(
        request,
        type=asked.type,
        payload=asked.payload,
        process_at=asked.process_at,
        process_in=asked.in_s,
    )
