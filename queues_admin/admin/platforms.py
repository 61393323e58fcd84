"""Platforms: how each is doing, register one, change it, switch it on and off; no credential is ever shown."""

from typing import Any

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from jobs.domain.errors import NotFound
from jobs.lifecycle.breaker import name_of
from jobs.models import Platform
from jobs.operations import platforms
from jobs.operations.platforms import PlatformSpec
from jobs.selectors import platform_pace, platform_silence
from jobs.selectors import platforms as reading
from queues_admin.admin import breakers
from queues_admin.admin.base import BackOffice, Route, page
from queues_admin.admin.confirm import Change, Done, OptionalReasonForm, ReasonForm, confirm
from queues_admin.admin.platform_forms import change, create
from queues_admin.admin.platform_silence import silence
from queues_admin.admin.whose import slug

OPERATE = "jobs.operate_platform"


@admin.register(Platform)
class PlatformAdmin(BackOffice):
    def routes(self) -> list[Route]:
        view = "jobs.view_platform"
        return [
            Route(path="", view=overview, name="changelist", permission=view),
            Route(path="+new/", view=create, name="add", permission=view),
            Route(path="+unknown/", view=silence, name="silence", permission=view),
            Route(path="<str:name>/", view=detail, name="change", permission=view),
            Route(path="<str:name>/settings/", view=change, name="settings", permission=view),
            Route(path="<str:name>/<slug:verb>/", view=act, name="act", permission=view),
        ]


def overview(request: HttpRequest) -> HttpResponse:
    numbers = dict(Platform.objects.values_list("name", "pk"))
    silent = platform_silence.counts()
    lines = [(p, silent.get(numbers.get(p.name, 0), 0)) for p in reading.listing(None).items]
    return page(
        request,
        "platforms.html",
        title=_("Platforms"),
        lines=lines,
        silent=sum(silent.values()),
    )


def detail(request: HttpRequest, name: str) -> HttpResponse:
    platform = _get(name)
    number, tenant_id = Platform.objects.values_list("pk", "tenant_id").get(name=name)
    return page(
        request,
        "platform.html",
        title=_("Platform %(name)s") % {"name": name},
        platform=platform,
        both=[platform.breaker, platform.service_breaker],
        tenant=slug(tenant_id),
        pace=platform_pace.pace(number),
        statuses=platform_pace.statuses(number),
        most=platform_pace.MOST_TASKS,
        silent=platform_silence.counts(platform_id=number).get(number, 0),
    )


def act(request: HttpRequest, name: str, verb: str) -> HttpResponse:
    """Force its breaker open or closed, release it, switch the platform on or off."""
    platform, back = _get(name), reverse("admin:jobs_platform_change", args=[name])
    if verb in ("open", "close", "release"):
        return breakers.act(request, name_of(name), verb, back=back)
    if verb not in _SWITCHES:
        raise Http404
    button, effect, on = _SWITCHES[verb]
    return confirm(
        request,
        Change(
            action=f"platform.{verb}",
            target=name,
            title=_("%(verb)s: platform %(name)s") % {"verb": button, "name": name},
            button=str(button),
            effects=[str(effect)],
            permissions=(OPERATE,),
            back=back,
            perform=lambda _given: _switch(name, on),
            form=OptionalReasonForm if on else ReasonForm,
            before={"enabled": platform.enabled},
            danger=not on,
        ),
    )


def _switch(name: str, on: bool) -> Done:
    platforms.change(PlatformSpec(name=name, enabled=on))
    message = _("The platform is enabled.") if on else _("The platform is disabled.")
    return Done(message=message, after={"enabled": on})


_SWITCHES: dict[str, tuple[Any, Any, bool]] = {
    "disable": (
        gettext_lazy("Disable"),
        gettext_lazy(
            "New tasks for this platform are refused or wait; nothing is cancelled over there."
        ),
        False,
    ),
    "enable": (
        gettext_lazy("Enable"),
        gettext_lazy("Tasks for this platform run again."),
        True,
    ),
}


def _get(name: str) -> reading.PlatformView:
    try:
        return reading.get(name, None)
    except NotFound:
        raise Http404 from None
