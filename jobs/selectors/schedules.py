"""Schedules and their ticks."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from django.db.models import QuerySet

from jobs.domain import ids
from jobs.domain.errors import NotFound
from jobs.lifecycle import cron as clock
from jobs.models import Schedule
from jobs.selectors.masking import masked
from jobs.selectors.paging import Page, cursor, key_int, whole
from jobs.store import postgres, sealed

MOST = 1000


class ScheduleView(msgspec.Struct, frozen=True, kw_only=True):
    """`next_at` is null while it is not enabled."""

    id: int
    name: str
    cron: str
    timezone: str
    type: str
    payload: Any
    options: dict[str, Any]
    missed: str
    enabled: bool
    next_at: datetime | None
    last_at: datetime | None
    created_at: datetime


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """`tick_at`: the moment meant, `made_at`: when a scheduler made it."""

    tick_at: datetime
    made_at: datetime
    task_id: str | None
    outcome: str


def listing(
    tenant_id: int | None = 1, *, after: str | None = None, limit: int = MOST
) -> Page[ScheduleView]:
    """Oldest first; None: of all tenants."""
    own = _of(tenant_id)
    rows = list(own.filter(pk__gt=key_int(after) or 0).order_by("id")[: limit + 1])
    more = len(rows) > limit
    return Page(
        items=[of(row) for row in rows[:limit]],
        next_cursor=cursor(rows[limit - 1].pk) if more else None,
        estimated_total=own.count(),
    )


def get(schedule_id: int, tenant_id: int | None = 1) -> ScheduleView:
    """Raises NotFound. None: of any tenant."""
    row = _of(tenant_id).filter(pk=schedule_id).first()
    if row is None:
        raise NotFound("There is no such schedule", schedule=schedule_id)
    return of(row)


def options(schedule_id: int) -> dict[str, Any]:
    """The options of its submits as they were given (`get` masks secrets). Raises Misconfigured."""
    found = Schedule.objects.filter(pk=schedule_id).values_list("options", flat=True).first()
    return sealed.opened_headers(found or {})


def ticks(schedule_id: int, tenant_id: int | None = 1) -> Page[Tick]:
    """The last ticks, newest first. Raises NotFound."""
    get(schedule_id, tenant_id)
    rows = postgres.query(
        "SELECT s.tick_at, s.made_at, s.task_id, i.custom_id, s.outcome FROM schedule_tick s"
        " LEFT JOIN task_info i ON i.id = s.task_id WHERE s.schedule_id = %s ORDER BY s.tick_at DESC LIMIT %s",
        [schedule_id, MOST],
    )
    return whole([_tick(row) for row in rows])


def of(row: Schedule) -> ScheduleView:
    return ScheduleView(
        id=row.pk,
        name=row.name,
        cron=row.cron,
        timezone=row.timezone,
        type=row.type,
        payload=masked(sealed.shown_value(row.payload)),
        options=masked(sealed.shown_headers(row.options)),
        missed=row.missed,
        enabled=row.enabled,
        next_at=row.next_at,
        last_at=row.last_at,
        created_at=row.created_at,
    )


def coming(schedule: ScheduleView, count: int = 5) -> list[datetime]:
    """Its next times in its own zone; none while it is paused."""
    found: list[datetime] = []
    after = schedule.next_at
    while after is not None and len(found) < count:
        found.append(after.astimezone(ZoneInfo(schedule.timezone)))
        after = clock.next_after(schedule.cron, schedule.timezone, after)
    return found


def _of(tenant_id: int | None) -> "QuerySet[Schedule]":
    if tenant_id is None:
        return Schedule.objects.all()
    return Schedule.objects.filter(tenant_id=tenant_id)


def _tick(row: postgres.Row) -> Tick:
    tick_at, made_at, task_id, custom_id, outcome = row
    public = custom_id or (ids.public_id(task_id) if task_id else None)
    return Tick(tick_at=tick_at, made_at=made_at, task_id=public, outcome=outcome)
