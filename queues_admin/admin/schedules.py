"""Schedulers: the periodic tasks, when they come next, pause, resume, run now."""

from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from jobs.domain.errors import NotFound
from jobs.models import Schedule
from jobs.operations import schedules
from jobs.selectors import schedules as reading
from jobs.selectors.tenants import slugs
from queues_admin.admin.base import BackOffice, Route, page
from queues_admin.admin.confirm import Change, Done, OptionalReasonForm, ReasonForm, confirm
from queues_admin.admin.schedule_forms import change, create, may_run
from queues_admin.admin.task_page import pretty

OPERATE = "jobs.operate_schedule"


@admin.register(Schedule)
class ScheduleAdmin(BackOffice):
    def routes(self) -> list[Route]:
        view = "jobs.view_schedule"
        return [
            Route(path="", view=overview, name="changelist", permission=view),
            Route(path="new/", view=create, name="add", permission=view),
            Route(path="<int:schedule_id>/", view=detail, name="change", permission=view),
            Route(
                path="<int:schedule_id>/settings/", view=change, name="settings", permission=view
            ),
            Route(path="<int:schedule_id>/pause/", view=pause, name="pause", permission=view),
            Route(path="<int:schedule_id>/resume/", view=resume, name="resume", permission=view),
            Route(path="<int:schedule_id>/run/", view=run, name="run", permission=view),
            Route(path="<int:schedule_id>/delete/", view=delete, name="remove", permission=view),
        ]


def overview(request: HttpRequest) -> HttpResponse:
    found = reading.listing(None).items
    whose = dict(Schedule.objects.values_list("pk", "tenant_id"))
    known = slugs(whose.values())
    lines = [(schedule, known.get(whose.get(schedule.id, 0), "")) for schedule in found]
    return page(
        request,
        "schedules.html",
        title=_("Schedulers"),
        lines=lines,
        many_tenants=len(set(whose.values())) > 1,
    )


def detail(request: HttpRequest, schedule_id: int) -> HttpResponse:
    schedule = _get(schedule_id)
    return page(
        request,
        "schedule.html",
        title=_("Schedule %(name)s") % {"name": schedule.name},
        schedule=schedule,
        payload=pretty(schedule.payload),
        options=pretty(schedule.options),
        coming=reading.coming(schedule),
        ticks=reading.ticks(schedule_id, None).items,
    )


def pause(request: HttpRequest, schedule_id: int) -> HttpResponse:
    def perform(_given: dict[str, Any]) -> Done:
        schedules.pause(schedule_id)
        return Done(message=_("The schedule is paused."), after={"enabled": False})

    effect = _("It makes no more tasks until it is resumed. Tasks that it made go on.")
    return confirm(request, _change(schedule_id, "pause", _("Pause"), effect, perform, ReasonForm))


def resume(request: HttpRequest, schedule_id: int) -> HttpResponse:
    def perform(_given: dict[str, Any]) -> Done:
        may_run(request, _get(schedule_id).type)
        schedules.resume(schedule_id)
        return Done(message=_("The schedule is running again."), after={"enabled": True})

    effect = _("It makes tasks again, from its next time on.")
    return confirm(
        request, _change(schedule_id, "resume", _("Resume"), effect, perform, OptionalReasonForm)
    )


def run(request: HttpRequest, schedule_id: int) -> HttpResponse:
    def perform(_given: dict[str, Any]) -> Done:
        may_run(request, _get(schedule_id).type)
        made = schedules.run_now(schedule_id)
        return Done(
            message=_("Made task %(id)s.") % {"id": made.task_id}, after={"task_id": made.task_id}
        )

    effect = _("One task is made at once; the schedule's own times stay as they are.")
    return confirm(
        request, _change(schedule_id, "run", _("Run Now"), effect, perform, OptionalReasonForm)
    )


def delete(request: HttpRequest, schedule_id: int) -> HttpResponse:
    def perform(_given: dict[str, Any]) -> Done:
        schedules.delete(schedule_id)
        return Done(message=_("The schedule is deleted."), after={"deleted": True})

    effect = _("It makes no more tasks, and its history is removed. Tasks that it made go on.")
    return confirm(
        request,
        _change(schedule_id, "delete", _("Delete"), effect, perform, ReasonForm, danger=True),
    )


def _change(
    schedule_id: int,
    verb: str,
    button: str,
    effect: str,
    perform: Any,
    form: type[ReasonForm],
    danger: bool = False,
) -> Change:
    schedule = _get(schedule_id)
    args = [] if verb == "delete" else [schedule_id]
    return Change(
        action=f"schedule.{verb}",
        target=f"{schedule.name} #{schedule_id}",
        title=_("%(verb)s: schedule %(name)s") % {"verb": button, "name": schedule.name},
        button=button,
        effects=[effect],
        permissions=(OPERATE,),
        back=reverse(
            "admin:jobs_schedule_change" if args else "admin:jobs_schedule_changelist", args=args
        ),
        perform=perform,
        form=form,
        before={"enabled": schedule.enabled, "cron": schedule.cron},
        danger=danger,
    )


def _get(schedule_id: int) -> reading.ScheduleView:
    try:
        return reading.get(schedule_id, None)
    except NotFound:
        raise Http404 from None
