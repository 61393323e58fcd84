"""Forms that make a schedule and change one."""

from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from jobs.domain.errors import Invalid, NotFound
from jobs.handlers.registry import public_handler, public_names
from jobs.operations import schedules
from jobs.selectors import schedules as reading
from queues_admin.admin.confirm import Change, Done, OptionalReasonForm, confirm
from queues_admin.admin.json_field import ObjectField, changed
from queues_admin.admin.whose import chosen

OPERATE = "jobs.operate_schedule"
ADMIN = "jobs.manage_tenant"
_FIELDS = ("name", "cron", "timezone", "type", "payload", "options", "missed")


class ScheduleForm(OptionalReasonForm):
    """When, and what is submitted then."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=200)
    cron = forms.CharField(
        label=gettext_lazy("Cron"),
        max_length=200,
        help_text=gettext_lazy("Like `0 3 * * *`, `@daily` or `@every 30s`."),
    )
    timezone = forms.CharField(label=gettext_lazy("Time zone"), max_length=100)
    type = forms.ChoiceField(
        label=gettext_lazy("Type"), choices=lambda: [(name, name) for name in public_names()]
    )
    payload = ObjectField(label=gettext_lazy("Payload"))
    options = ObjectField(
        label=gettext_lazy("Options"),
        help_text=gettext_lazy("Those of a submit, for example a queue, a user_id and credits."),
    )
    missed = forms.ChoiceField(
        label=gettext_lazy("Missed ticks"),
        choices=[("skip", gettext_lazy("skip")), ("once", gettext_lazy("run once"))],
    )
    field_order = (*_FIELDS, "reason")

    def clean_payload(self) -> Any:
        """None while it is as it was shown."""
        return self._new("payload")

    def clean_options(self) -> Any:
        return self._new("options")

    def _new(self, field: str) -> Any:
        given = self.cleaned_data[field]
        return given if changed(given, self.initial.get(field, {})) else None


def may_run(request: HttpRequest, type_: str) -> None:
    """Types that need scope `admin` over the API need the role admin here. Raises Invalid."""
    if public_handler(type_).scope == "admin" and not request.user.has_perm(ADMIN):
        raise Invalid("Tasks of type %(type)s need the role admin", field="type", type=type_)


def create(request: HttpRequest) -> HttpResponse:
    """A new one, for the tenant in the address."""
    tenant_id = chosen(request)

    def perform(given: dict[str, Any]) -> Done:
        may_run(request, given["type"])
        made = schedules.create(tenant_id=tenant_id, **_said(given))
        message = _("The schedule %(name)s is made.") % {"name": made.name}
        return Done(message=message, after={"id": made.pk, **_noted(given)})

    return _confirm(
        request,
        action="schedule.create",
        target=request.POST.get("name", "")[:200],
        title=_("New schedule"),
        button=_("Create schedule"),
        effects=[_("It makes a task at each of its times, from the next one on.")],
        back=reverse("admin:jobs_schedule_changelist"),
        perform=perform,
        initial={"timezone": "UTC", "missed": "skip", "payload": {}, "options": {}},
    )


def change(request: HttpRequest, schedule_id: int) -> HttpResponse:
    try:
        now = reading.get(schedule_id, None)
    except NotFound:
        raise Http404 from None
    shown = {field: getattr(now, field) for field in _FIELDS}

    def perform(given: dict[str, Any]) -> Done:
        may_run(request, now.type)
        may_run(request, given["type"])
        schedules.change(schedule_id, **_said(given))
        message = _("The schedule %(name)s is changed.") % {"name": given["name"]}
        return Done(message=message, after=_noted(given))

    return _confirm(
        request,
        action="schedule.change",
        target=f"{now.name} #{schedule_id}",
        title=_("Settings of schedule %(name)s") % {"name": now.name},
        button=_("Change"),
        effects=[_("It holds from its next time on. Tasks that it made go on as they are.")],
        back=reverse("admin:jobs_schedule_change", args=[schedule_id]),
        perform=perform,
        initial=shown,
        before=_noted(shown),
    )


def _confirm(request: HttpRequest, **parts: Any) -> HttpResponse:
    change = Change(permissions=(OPERATE,), form=ScheduleForm, asks=True, **parts)
    return confirm(request, change)


def _said(given: dict[str, Any]) -> dict[str, Any]:
    return {field: given[field] for field in _FIELDS if given[field] is not None}


def _noted(given: dict[str, Any]) -> dict[str, Any]:
    """For the audit log: when and what; payload and options may hold secrets."""
    return {field: given[field] for field in ("name", "cron", "timezone", "type", "missed")}
