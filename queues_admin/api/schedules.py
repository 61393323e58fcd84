"""Schedules: list, create, change, delete, pause, resume, run now, ticks."""

from typing import Any

import msgspec

from jobs.domain.errors import Conflict, InsufficientCredits, NotFound, QueueFull
from jobs.operations import schedules as operations
from jobs.selectors import schedules, tasks
from jobs.selectors.paging import Page
from jobs.selectors.schedules import ScheduleView, Tick
from jobs.selectors.task_view import TaskView
from queues_admin.api import limits
from queues_admin.api.answers import Done
from queues_admin.api.bodies import (
    SCHEDULE_FIELDS,
    SCHEDULE_OPTIONS,
    ScheduleBody,
    TenantQuery,
    TenantShortListQuery,
)
from queues_admin.api.endpoint import Api, Call, endpoint
from queues_admin.api.envelope import Reply


class Schedules(Api):
    @endpoint(
        summary="All schedules",
        scope="read",
        query=TenantShortListQuery,
        data=Page[ScheduleView],
        of_any_tenant=True,
    )
    def get(self, call: Call) -> Reply:
        q: TenantShortListQuery = call.query
        return Reply(data=schedules.listing(call.tenant_id, after=q.cursor, limit=q.limit))

    @endpoint(
        summary="Create a schedule",
        scope="operate",
        action="schedule.create",
        body=ScheduleBody,
        data=ScheduleView,
        statuses=(201,),
        raises=(Conflict, QueueFull),
        query=TenantQuery,
        of_any_tenant=True,
    )
    def post(self, call: Call) -> Reply:
        fields, options = _given(call)
        with call.audited(f"schedule:{fields.get('name', '')}") as after:
            made = operations.create(tenant_id=call.tenant_id, **fields, options=options)
            after.update(cron=made.cron, type=made.type, enabled=made.enabled)
        headers = {"Location": f"/api/v1/schedules/{made.pk}"}
        return Reply(data=schedules.get(made.pk, call.tenant_id), status=201, headers=headers)


class Schedule(Api):
    @endpoint(
        summary="One schedule",
        scope="read",
        data=ScheduleView,
        raises=(NotFound,),
        query=TenantQuery,
        of_any_tenant=True,
    )
    def get(self, call: Call, schedule_id: str) -> Reply:
        return Reply(data=schedules.get(_id(schedule_id), call.tenant_id))

    @endpoint(
        summary="Change a schedule",
        scope="operate",
        action="schedule.change",
        body=ScheduleBody,
        data=ScheduleView,
        raises=(NotFound, Conflict, QueueFull),
        query=TenantQuery,
        of_any_tenant=True,
    )
    def patch(self, call: Call, schedule_id: str) -> Reply:
        number = _id(schedule_id)
        before = schedules.get(number, call.tenant_id)
        fields, options = _given(call)
        limits.check_type(call, before.type)
        with call.audited(f"schedule:{before.name}", before={"cron": before.cron}) as after:
            operations.change(number, tenant_id=call.tenant_id, more_options=options, **fields)
            after["changed"] = sorted([*fields, *options])
        return Reply(data=schedules.get(number, call.tenant_id))

    @endpoint(
        summary="Delete a schedule; tasks that it made go on",
        scope="operate",
        action="schedule.delete",
        data=Done,
        raises=(NotFound,),
        query=TenantQuery,
        of_any_tenant=True,
    )
    def delete(self, call: Call, schedule_id: str) -> Reply:
        number = _id(schedule_id)
        name = schedules.get(number, call.tenant_id).name
        with call.audited(f"schedule:{name}"):
            operations.delete(number, tenant_id=call.tenant_id)
        return Reply(data=Done(name=name))


class Pause(Api):
    @endpoint(
        summary="Pause a schedule",
        scope="operate",
        action="schedule.pause",
        data=ScheduleView,
        raises=(NotFound,),
        query=TenantQuery,
        of_any_tenant=True,
    )
    def post(self, call: Call, schedule_id: str) -> Reply:
        return _switch(call, _id(schedule_id), on=False)


class Resume(Api):
    @endpoint(
        summary="Resume a schedule",
        scope="operate",
        action="schedule.resume",
        data=ScheduleView,
        raises=(NotFound, QueueFull),
        query=TenantQuery,
        of_any_tenant=True,
    )
    def post(self, call: Call, schedule_id: str) -> Reply:
        return _switch(call, _id(schedule_id), on=True)


class Run(Api):
    @endpoint(
        summary="Make one task of a schedule now",
        scope="operate",
        action="schedule.run",
        data=TaskView,
        statuses=(201,),
        raises=(NotFound, Conflict, QueueFull, InsufficientCredits),
        query=TenantQuery,
        of_any_tenant=True,
    )
    def post(self, call: Call, schedule_id: str) -> Reply:
        number = _id(schedule_id)
        before = schedules.get(number, call.tenant_id)
        limits.check_type(call, before.type)
        with call.audited(f"schedule:{before.name}") as after:
            made = operations.run_now(number, tenant_id=call.tenant_id, actor=call.actor)
            after["task_id"] = made.task_id
        view = tasks.get(made.id, call.tenant_id)
        return Reply(data=view, status=201, headers={"Location": view.links.this})


class Ticks(Api):
    @endpoint(
        summary="A schedule's last ticks",
        scope="read",
        query=TenantShortListQuery,
        data=Page[Tick],
        raises=(NotFound,),
        of_any_tenant=True,
    )
    def get(self, call: Call, schedule_id: str) -> Reply:
        return call.page(schedules.ticks(_id(schedule_id), call.tenant_id).items)


def _switch(call: Call, number: int, *, on: bool) -> Reply:
    before = schedules.get(number, call.tenant_id)
    if on:
        limits.check_type(call, before.type)
    with call.audited(f"schedule:{before.name}", before={"enabled": before.enabled}) as after:
        (operations.resume if on else operations.pause)(number, tenant_id=call.tenant_id)
        after["enabled"] = on
    return Reply(data=schedules.get(number, call.tenant_id))


def _given(call: Call) -> tuple[dict[str, Any], dict[str, Any]]:
    """(fields of the schedule, options of its submits), both only as far as they were given."""
    given: dict[str, Any] = msgspec.to_builtins(call.body)
    if "type" in given:
        limits.check_type(call, given["type"])
    fields = {name: given[name] for name in SCHEDULE_FIELDS if name in given}
    options = {
        option.name: given[option.name] for option in SCHEDULE_OPTIONS if option.name in given
    }
    return fields, options


def _id(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise NotFound("There is no such schedule", schedule=text)
    return int(text)
