"""Queues: how full each one is, pause and resume, the emergency stop."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from jobs.models import Queue
from jobs.operations import queues
from queues_admin.admin.base import BackOffice, Route, page
from queues_admin.admin.confirm import Change, Done, OptionalReasonForm, ReasonForm, confirm
from queues_admin.admin.numbers import control, queue_lines
from queues_admin.admin.redis_info import redis_info

OPERATE = "jobs.operate_queue"


class SettingsForm(ReasonForm):
    """Weight, capacity and concurrency, live."""

    weight = forms.IntegerField(label=gettext_lazy("Weight"), min_value=1, max_value=1000)
    capacity = forms.IntegerField(label=gettext_lazy("Capacity"), min_value=1, required=False)
    concurrency = forms.IntegerField(label=gettext_lazy("Concurrency"), min_value=0, required=False)
    field_order = ("weight", "capacity", "concurrency", "reason")


@admin.register(Queue)
class QueueAdmin(BackOffice):
    def routes(self) -> list[Route]:
        view = "jobs.view_queue"
        return [
            Route(path="", view=overview, name="changelist", permission=view),
            Route(path="stop/", view=emergency_stop, name="stop", permission=view),
            Route(path="redis/", view=redis_info, name="redis", permission=view),
            Route(path="<str:name>/pause/", view=pause, name="pause", permission=view),
            Route(path="<str:name>/resume/", view=resume, name="resume", permission=view),
            Route(path="<str:name>/settings/", view=configure, name="settings", permission=view),
        ]


def overview(request: HttpRequest) -> HttpResponse:
    return page(request, "queues.html", title=_("Queues"), lines=queue_lines(), control=control())


def pause(request: HttpRequest, name: str) -> HttpResponse:
    row = _queue(name)
    return confirm(
        request,
        _change(
            row,
            action="queue.pause",
            title=_("Pause queue %(name)s") % {"name": name},
            button=_("Pause"),
            effects=[
                _("No task of queue %(name)s starts any more; running ones finish.")
                % {"name": name},
                _("New tasks are still accepted and wait."),
            ],
            danger=True,
            perform=lambda given: _pause(name, given["reason"]),
        ),
    )


def resume(request: HttpRequest, name: str) -> HttpResponse:
    row = _queue(name)
    return confirm(
        request,
        _change(
            row,
            action="queue.resume",
            title=_("Resume queue %(name)s") % {"name": name},
            button=_("Resume"),
            effects=[
                _("Workers take tasks of queue %(name)s again, within a second.") % {"name": name}
            ],
            form=OptionalReasonForm,
            perform=lambda _given: _resume(name),
        ),
    )


def configure(request: HttpRequest, name: str) -> HttpResponse:
    row = _queue(name)
    now = {"weight": row.weight, "capacity": row.capacity, "concurrency": row.concurrency}
    return confirm(
        request,
        _change(
            row,
            action="queue.configure",
            title=_("Settings of queue %(name)s") % {"name": name},
            button=_("Change"),
            effects=[
                _("Running workers follow within a second."),
                _("A field left empty keeps its present value."),
                _("Concurrency: most tasks of it at once in one worker process; 0: no limit."),
            ],
            form=SettingsForm,
            initial=now,
            before=now,
            perform=lambda given: _configure(name, given),
        ),
    )


def emergency_stop(request: HttpRequest) -> HttpResponse:
    """One switch for all consumption."""
    stopped = control().stopped
    effect = (
        _("Workers take tasks of all queues again.")
        if stopped
        else _(
            "No worker starts any task, in no queue, until somebody lifts the stop. Running tasks finish."
        )
    )
    return confirm(
        request,
        Change(
            action="emergency.resume" if stopped else "emergency.stop",
            target="all queues",
            title=_("Lift the emergency stop") if stopped else _("Emergency stop"),
            button=_("Lift the stop") if stopped else _("Stop everything"),
            effects=[effect],
            permissions=(OPERATE,),
            back=_back(),
            danger=not stopped,
            before={"stopped": stopped},
            perform=lambda given: _stop(not stopped, given["reason"]),
        ),
    )


def _change(row: Queue, *, perform: Callable[[dict[str, Any]], Done], **parts: Any) -> Change:
    parts.setdefault("before", {"paused": row.paused})
    return Change(target=row.name, permissions=(OPERATE,), back=_back(), perform=perform, **parts)


def _pause(name: str, reason: str) -> Done:
    queues.pause(name, reason=reason)
    return Done(message=_("Queue %(name)s is paused.") % {"name": name}, after={"paused": True})


def _resume(name: str) -> Done:
    queues.resume(name)
    return Done(
        message=_("Queue %(name)s is running again.") % {"name": name}, after={"paused": False}
    )


def _configure(name: str, given: dict[str, Any]) -> Done:
    wanted = {key: given[key] for key in ("weight", "capacity", "concurrency")}
    queues.configure(name, **wanted)
    return Done(
        message=_("The settings of queue %(name)s were changed.") % {"name": name}, after=wanted
    )


def _stop(stop: bool, reason: str) -> Done:
    queues.stop_everything(stop, reason=reason)
    message = _("The emergency stop is on.") if stop else _("The emergency stop is lifted.")
    return Done(message=message, after={"stopped": stop})


def _queue(name: str) -> Queue:
    row = Queue.objects.filter(name=name, removed=False).first()
    if row is None:
        raise Http404
    return row


def _back() -> str:
    return reverse("admin:jobs_queue_changelist")
