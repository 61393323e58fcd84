"""`TaskPeriodic`: put a schedule under its name, so that a service needs no more than a submit for it."""

from typing import Any, Literal

import msgspec

from jobs.domain.errors import Conflict, Invalid, TaskCenterError, UnknownType
from jobs.domain.outcomes import SkipRetry
from jobs.handlers import Context, task
from jobs.lifecycle import cron
from jobs.operations import audits, schedules
from jobs.operations.planned_types import ONCE, PERIODIC


class Periodic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schedule; what is left out keeps its value when there is one of this name."""

    name: str
    cron: str
    type: str
    payload: Any = msgspec.field(default_factory=dict)
    timezone: str | msgspec.UnsetType = msgspec.UNSET
    missed: Literal["skip", "once"] | msgspec.UnsetType = msgspec.UNSET
    enabled: bool | msgspec.UnsetType = msgspec.UNSET


def _check(payload: Periodic, tenant_id: int) -> None:
    if not 1 <= len(payload.name) <= 512:
        raise Invalid("A schedule's name has 1 to 512 characters", field="name")
    if payload.type in (ONCE, PERIODIC):
        raise UnknownType(f"{PERIODIC} repeats another type", type=payload.type)
    zone = payload.timezone if isinstance(payload.timezone, str) else "UTC"
    cron.check(payload.cron, zone)
    schedules.check_submit(payload.type, payload.payload, tenant_id=tenant_id)


@task(PERIODIC, queue="critical", timeout_s=30.0, scope="operate", check=_check, own=True)
def put(payload: Periodic, context: Context) -> dict[str, Any]:
    """Create or change the schedule; the same payload again changes nothing. Raises SkipRetry for a wrong one."""
    given: dict[str, Any] = msgspec.to_builtins(payload)
    try:
        schedule, is_new = schedules.put(tenant_id=context.tenant_id, **given)
    except Conflict:
        raise  # somebody made it at the same moment: the next run changes it
    except TaskCenterError as error:
        raise SkipRetry(str(error)) from error
    audits.record(
        actor=f"task:{context.task_id}",
        action="schedule.create" if is_new else "schedule.change",
        target=f"schedule:{schedule.name}",
        after={"cron": schedule.cron, "type": schedule.type, "enabled": schedule.enabled},
        tenant_id=context.tenant_id,
    )
    next_at = schedule.next_at
    return {
        "schedule_id": schedule.pk,
        "created": is_new,
        "next_at": None if next_at is None else next_at.isoformat(),
    }
