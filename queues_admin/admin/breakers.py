"""Circuit breakers of both levels, a platform's and its service instance's: hold one open or closed, release it."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from jobs.domain.errors import NotFound
from jobs.models import Breaker
from jobs.operations import breakers
from jobs.selectors import breakers as reading
from jobs.selectors import platforms
from queues_admin.admin.base import BackOffice, Route, actor, page
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


@admin.register(Breaker)
class BreakerAdmin(BackOffice):
    def routes(self) -> list[Route]:
        view = "jobs.view_breaker"
        return [
            Route(path="", view=overview, name="changelist", permission=view),
            Route(path="<str:name>/<slug:verb>/", view=act, name="act", permission=view),
        ]


def overview(request: HttpRequest) -> HttpResponse:
    listed = reading.listing()
    return page(request, "breakers.html", title=_("Circuit breakers"), breakers=listed)


def act(request: HttpRequest, name: str, verb: str, *, back: str = "") -> HttpResponse:
    """The confirmation page and its POST for open, close and release. `name`: in full, `platform:…` or `service:…`."""
    if verb not in _LABELS:
        raise Http404
    try:
        breaker = reading.get(name)
    except NotFound:
        raise Http404 from None
    return confirm(
        request,
        Change(
            action=f"breaker.{verb}",
            target=name,
            title=_("%(verb)s: breaker %(name)s") % {"verb": _LABELS[verb], "name": name},
            button=str(_LABELS[verb]),
            effects=_effects(name, verb),
            permissions=(OPERATE,),
            back=back or reverse("admin:jobs_breaker_changelist"),
            perform=lambda given: _perform(request, name, verb, given),
            form=OptionalReasonForm if verb == "release" else ForceForm,
            before={"state": breaker.state, "forced": breaker.forced},
            danger=verb != "release",
        ),
    )


def _effects(name: str, verb: str) -> list[str]:
    kind, _sep, whose = name.partition(":")
    if verb == "release":
        return [_("The breaker follows the answers again.")]
    if verb == "close":
        return [_("All requests go to %(name)s, whatever it answers.") % {"name": whose}]
    found = [
        _(
            "No request goes to %(name)s; its tasks wait until the breaker is released or the time is over."
        )
        % {"name": whose}
    ]
    if kind == "service":
        behind = [p.name for p in platforms.listing(None).items if p.service_breaker.name == name]
        found.append(
            _("This holds up every platform behind that address: %(names)s.")
            % {"names": ", ".join(behind) or "–"}
        )
    return found


def _perform(request: HttpRequest, name: str, verb: str, given: dict[str, Any]) -> Done:
    if verb == "release":
        breakers.release(name)
        return Done(message=_("The breaker is left to itself again."), after={"forced": None})
    state, minutes = _STATES[verb], given["minutes"]
    breakers.force(
        name,
        state,
        until_s=None if minutes is None else minutes * 60.0,
        by=actor(request),
        reason=given["reason"],
    )
    return Done(
        message=_("The breaker is held %(state)s.") % {"state": state},
        after={"forced": state, "minutes": minutes},
    )


_STATES = {"open": "OPEN", "close": "CLOSED"}
_LABELS = {
    "open": gettext_lazy("Force open"),
    "close": gettext_lazy("Force closed"),
    "release": gettext_lazy("Release"),
}
