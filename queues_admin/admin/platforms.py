"""Platforms and their circuit breakers; no credential is ever shown."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from jobs.domain.errors import NotFound
from jobs.models import Breaker, Platform
from jobs.operations import breakers, platforms
from jobs.operations.platforms import PlatformSpec
from jobs.selectors import platforms as reading
from queues_admin.admin.base import BackOffice, Route, page
from queues_admin.admin.confirm import Change, Done, OptionalReasonForm, ReasonForm, confirm

OPERATE = "jobs.operate_platform"


class ForceForm(ReasonForm):
    """For how long."""

    minutes = forms.IntegerField(
        label=gettext_lazy("Minutes (empty: until it is released)"),
        min_value=1,
        max_value=10_080,
        required=False,
    )
    field_order = ("minutes", "reason")


@admin.register(Platform)
class PlatformAdmin(BackOffice):
    def routes(self) -> list[Route]:
        view = "jobs.view_platform"
        return [
            Route(path="", view=overview, name="changelist", permission=view),
            Route(path="<str:name>/", view=detail, name="change", permission=view),
            Route(path="<str:name>/<slug:verb>/", view=act, name="act", permission=view),
        ]


@admin.register(Breaker)
class BreakerAdmin(BackOffice):
    def routes(self) -> list[Route]:
        return [
            Route(path="", view=breaker_list, name="changelist", permission="jobs.view_breaker")
        ]


def overview(request: HttpRequest) -> HttpResponse:
    return page(
        request, "platforms.html", title=_("Platforms"), platforms=reading.listing(None).items
    )


def breaker_list(request: HttpRequest) -> HttpResponse:
    return page(request, "breakers.html", title=_("Circuit breakers"), breakers=reading.breakers())


def detail(request: HttpRequest, name: str) -> HttpResponse:
    title = _("Platform %(name)s") % {"name": name}
    return page(request, "platform.html", title=title, platform=_get(name))


def act(request: HttpRequest, name: str, verb: str) -> HttpResponse:
    """Force the breaker open or closed, release it, switch the platform on or off."""
    platform = _get(name)
    known = _ACTS.get(verb)
    if known is None:
        raise Http404
    button, effect, perform, form, danger = known
    return confirm(
        request,
        Change(
            action=f"platform.{verb}",
            target=name,
            title=_("%(verb)s: platform %(name)s") % {"verb": button, "name": name},
            button=str(button),
            effects=[str(effect)],
            permissions=(OPERATE,),
            back=reverse("admin:jobs_platform_change", args=[name]),
            perform=lambda given: perform(name, given),
            form=form,
            before={
                "enabled": platform.enabled,
                "breaker": platform.breaker.state,
                "forced": platform.breaker.forced,
            },
            danger=danger,
        ),
    )


def _force(state: str) -> Callable[[str, dict[str, Any]], Done]:
    def perform(name: str, given: dict[str, Any]) -> Done:
        minutes = given["minutes"]
        breakers.force(name, state, until_s=None if minutes is None else minutes * 60.0)
        return Done(
            message=_("The breaker is held %(state)s.") % {"state": state}, after={"forced": state}
        )

    return perform


def _release(name: str, _given: dict[str, Any]) -> Done:
    breakers.release(name)
    return Done(message=_("The breaker is left to itself again."), after={"forced": None})


def _switch(on: bool) -> Callable[[str, dict[str, Any]], Done]:
    def perform(name: str, _given: dict[str, Any]) -> Done:
        platforms.change(PlatformSpec(name=name, enabled=on))
        message = _("The platform is enabled.") if on else _("The platform is disabled.")
        return Done(message=message, after={"enabled": on})

    return perform


_Act = tuple[Any, Any, Callable[[str, dict[str, Any]], Done], type[ReasonForm], bool]
_ACTS: dict[str, _Act] = {
    "open": (
        gettext_lazy("Force open"),
        gettext_lazy(
            "No request goes to this platform; its tasks wait until the breaker is released or the time is over."
        ),
        _force("OPEN"),
        ForceForm,
        True,
    ),
    "close": (
        gettext_lazy("Force closed"),
        gettext_lazy("All requests go to this platform, whatever it answers."),
        _force("CLOSED"),
        ForceForm,
        True,
    ),
    "release": (
        gettext_lazy("Release"),
        gettext_lazy("The breaker follows the platform's answers again."),
        _release,
        OptionalReasonForm,
        False,
    ),
    "disable": (
        gettext_lazy("Disable"),
        gettext_lazy(
            "New tasks for this platform are refused or wait; nothing is cancelled over there."
        ),
        _switch(False),
        ReasonForm,
        True,
    ),
    "enable": (
        gettext_lazy("Enable"),
        gettext_lazy("Tasks for this platform run again."),
        _switch(True),
        OptionalReasonForm,
        False,
    ),
}


def _get(name: str) -> reading.PlatformView:
    try:
        return reading.get(name, None)
    except NotFound:
        raise Http404 from None
