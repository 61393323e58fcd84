"""Schedules: list, create, change, delete, pause, resume, run now, ticks."""

from jobs.domain.errors import NotFound
from jobs.selectors import schedules
from jobs.selectors.paging import Page
from jobs.selectors.schedules import ScheduleView, Tick
from queues_admin.api.endpoint import Api, Call, endpoint
from queues_admin.api.envelope import Reply


class Schedules(Api):
    @endpoint(summary="All schedules", scope="read", data=Page[ScheduleView])
    def get(self, call: Call) -> Reply:
        return Reply(data=schedules.listing(call.tenant_id))


class Schedule(Api):
    @endpoint(summary="One schedule", scope="read", data=ScheduleView, raises=(NotFound,))
    def get(self, call: Call, schedule_id: str) -> Reply:
        return Reply(data=schedules.get(_id(schedule_id), call.tenant_id))


class Ticks(Api):
    @endpoint(summary="A schedule's last ticks", scope="read", data=Page[Tick], raises=(NotFound,))
    def get(self, call: Call, schedule_id: str) -> Reply:
        return Reply(data=schedules.ticks(_id(schedule_id), call.tenant_id))


def _id(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise NotFound("There is no such schedule", schedule=text)
    return int(text)
