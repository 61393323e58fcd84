"""Bodies and query strings as callers send them; unknown fields are refused."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from jobs.operations.requests import TaskRequest
from jobs.selectors.task_filters import TaskFilter

Short = Annotated[str, Meta(min_length=1, max_length=512)]
Reason = Annotated[str, Meta(max_length=1000)]
Size = Annotated[int, Meta(ge=1, le=100)]
StateName = Literal[
    "pending", "active", "scheduled", "retry", "archived", "completed", "aggregating"
]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body."""


class Batch(Body, frozen=True, kw_only=True):
    """Each item is judged by itself."""

    tasks: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=1000)]


class TaskQuery(TaskFilter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    cursor: str | None = None
    limit: Size = 20
    tenant: Short | None = None


class TenantQuery(Body, frozen=True, kw_only=True):
    """`tenant`: whose things are meant, by its slug; for admins of the default tenant."""

    tenant: Short | None = None


class OneTaskQuery(TenantQuery, frozen=True, kw_only=True):
    """`wait`: seconds to wait for the task's end."""

    wait: Annotated[float, Meta(ge=0, le=30)] = 0.0


class ListQuery(Body, frozen=True, kw_only=True):
    cursor: str | None = None
    limit: Size = 20


class ShortListQuery(Body, frozen=True, kw_only=True):
    """Of lists that are short as a rule: one page unless asked otherwise."""

    cursor: str | None = None
    limit: Size = 100


class TenantListQuery(ListQuery, frozen=True, kw_only=True):
    tenant: Short | None = None


class TenantShortListQuery(ShortListQuery, frozen=True, kw_only=True):
    tenant: Short | None = None


class AuditQuery(ListQuery, frozen=True, kw_only=True):
    actor: str | None = None
    action: str | None = None
    refused: bool | None = None
    tenant: str | None = None


class PageQuery(TenantQuery, frozen=True, kw_only=True):
    queue: str = "scheduled"
    state: StateName = "pending"
    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    size: Size = 20


class DeleteQuery(TenantQuery, frozen=True, kw_only=True):
    queue: str | None = None
    state: StateName | None = None


class QueueTask(Body, frozen=True, kw_only=True):
    """`task_id`: a task id or any of its job ids."""

    task_id: Short
    queue: Short | None = None


class Cancel(Body, frozen=True, kw_only=True):
    """`force`: end a running task now instead of asking it to stop."""

    task_id: Short
    reason: Reason = ""
    force: bool = False


class CancelBatch(Body, frozen=True, kw_only=True):
    task_ids: Annotated[list[Short], Meta(min_length=1, max_length=100)]
    reason: Reason = ""


class HistoryQuery(Body, frozen=True, kw_only=True):
    days: int = 7


class Emptying(Body, frozen=True, kw_only=True):
    """`all_tenants`: of `dead_letter`, also what belongs to other tenants."""

    reason: Reason = ""
    all_tenants: bool = False


class WithReason(Body, frozen=True, kw_only=True):
    reason: Reason = ""


class TaskChange(Body, frozen=True, kw_only=True):
    payload: Any = msgspec.UNSET
    reason: Reason = ""


class Concurrency(Body, frozen=True, kw_only=True):
    concurrency: int
    reason: Reason = ""


class QueueChange(Body, frozen=True, kw_only=True):
    """`concurrency`: most tasks of the queue at once in one worker process; 0 takes the limit away."""

    weight: int | None = None
    capacity: int | None = None
    concurrency: int | None = None


class QueueDelete(Body, frozen=True, kw_only=True):
    """`force`: what waits in it is cancelled, refunded and deleted first."""

    force: bool = False
    reason: Short = ""


class PlatformChange(Body, frozen=True, kw_only=True):
    """What is left out stays as it is; null takes a limit or the price away."""

    protocol: Short | None = None
    base_url: Annotated[str, Meta(min_length=1, max_length=2000)] | None = None
    credential: Annotated[str, Meta(max_length=4000)] | None = None
    webhook_secret: Annotated[str, Meta(max_length=4000)] | None = None
    profile: Short | None = None
    time_limit: int | None = None
    allow_private: bool | None = None
    max_concurrency: Annotated[int, Meta(ge=1, le=1_000_000)] | UnsetType | None = UNSET
    rate_per_s: Annotated[float, Meta(gt=0, le=1_000_000)] | UnsetType | None = UNSET
    price: Annotated[int, Meta(ge=0, le=2**53)] | UnsetType | None = UNSET
    options: dict[str, Any] | None = None
    enabled: bool | None = None


class PlatformNew(PlatformChange, frozen=True, kw_only=True):
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$(?!\n)")]


class ForceBreaker(Body, frozen=True, kw_only=True):
    """`state`: OPEN or CLOSED holds it there (for `for` seconds), null releases it."""

    state: Literal["OPEN", "CLOSED"] | None
    for_s: Annotated[float, Meta(gt=0, le=86_400)] | None = msgspec.field(name="for", default=None)
    reason: Reason = ""


class Grant(Body, frozen=True, kw_only=True):
    grant: int
    reason: Annotated[str, Meta(min_length=1, max_length=1000)]


class KeyNew(Body, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=100)]
    scopes: list[str]
    tenant: str | None = None
    expires_at: datetime | None = None


_NOT_FOR_SCHEDULES = {
    "type",
    "payload",
    "task_id",
    "idempotency_key",
    "process_at",
    "deadline",
    "trace_id",
}
SCHEDULE_FIELDS = ("name", "cron", "timezone", "type", "payload", "missed", "enabled")
SCHEDULE_OPTIONS = tuple(
    field for field in msgspec.structs.fields(TaskRequest) if field.name not in _NOT_FOR_SCHEDULES
)


class _ScheduleFields(Body, frozen=True, kw_only=True):
    """A schedule; the other fields are those of a submit. What is left out stays as it is on a change."""

    name: Short | msgspec.UnsetType = msgspec.UNSET
    cron: Short | msgspec.UnsetType = msgspec.UNSET
    timezone: Short | msgspec.UnsetType = msgspec.UNSET
    type: Short | msgspec.UnsetType = msgspec.UNSET
    payload: Any = msgspec.UNSET
    missed: Literal["skip", "once"] | msgspec.UnsetType = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET


ScheduleBody: Any = msgspec.defstruct(
    "ScheduleBody",
    [(field.name, field.type | msgspec.UnsetType, msgspec.UNSET) for field in SCHEDULE_OPTIONS],
    bases=(_ScheduleFields,),
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
)
