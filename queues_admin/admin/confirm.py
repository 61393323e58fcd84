"""One way to change anything: a page that says the effect, then a POST with permission, reason and audit entry."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from jobs.domain.errors import Conflict, Invalid, TaskCenterError
from jobs.operations import audits
from queues_admin.admin.base import actor, address, may, page, read_only, refuse
from queues_admin.api.errors import text

Perform = Callable[[dict[str, Any]], "Done"]
Inspect = Callable[[dict[str, Any]], Sequence[TaskCenterError]]


class ReasonForm(forms.Form):
    """The reason; a change that needs more subclasses it."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=500,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 2, "maxlength": 500}),
    )


class OptionalReasonForm(ReasonForm):
    reason = forms.CharField(
        label=gettext_lazy("Reason (optional)"),
        max_length=500,
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "maxlength": 500}),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What to tell the operator and to write down; `show` answers with a page instead of a redirect."""

    message: str
    after: Any = None
    show: Callable[[], HttpResponse] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """`action` and `target` name it in the audit log, `effects` are sentences, `back` is where to go afterwards.

    `perform` gets the cleaned form and runs in one transaction with the audit entry. `asks`: the form holds the
    new thing itself; what is wrong with it is said at its fields, and nothing that was typed is lost. `inspect`:
    what the operation would refuse in the fields that the form itself does not, so that all is said at once.
    """

    action: str
    target: str
    title: str
    button: str
    effects: list[str]
    permissions: tuple[str, ...]
    back: str
    perform: Perform
    form: type[ReasonForm] = ReasonForm
    initial: dict[str, Any] = field(default_factory=dict)
    before: Any = None
    danger: bool = False
    asks: bool = False
    inspect: Inspect | None = None


def confirm(request: HttpRequest, change: Change) -> HttpResponse:
    """GET shows what would happen, POST does it."""
    refusal = _refusal(request, change)
    if refusal:
        if request.method == "POST":
            refuse(request, action=change.action, target=change.target, why=refusal)
        raise PermissionDenied(refusal)
    if request.method != "POST":
        return _show(request, change, change.form(initial=change.initial))
    form = change.form(request.POST, initial=change.initial)
    if not form.is_valid():
        said = set(form.errors)
        for fault in change.inspect(form.cleaned_data) if change.inspect is not None else ():
            if _field(fault, form) not in said:
                _say(form, fault)
        return _show(request, change, form, status=422)
    return _carry_out(request, change, form)


def _refusal(request: HttpRequest, change: Change) -> str:
    if read_only():
        return _("This installation is read-only (ASYNQ_READONLY=true).")
    if not may(request, *change.permissions):
        return _("This needs: %(names)s") % {"names": ", ".join(change.permissions)}
    return ""


def _carry_out(request: HttpRequest, change: Change, form: ReasonForm) -> HttpResponse:
    given = form.cleaned_data
    try:
        with transaction.atomic():
            done = change.perform(given)
            audits.record(
                actor=actor(request),
                address=address(request),
                action=change.action,
                target=change.target,
                reason=given.get("reason", ""),
                before=change.before,
                after=done.after,
            )
    except TaskCenterError as error:
        if change.asks and isinstance(error, Invalid | Conflict):
            _say(form, error)
            return _show(request, change, form, status=422)
        refuse(request, action=change.action, target=change.target, why=str(error)[:500])
        messages.error(request, _("Nothing was changed: %(error)s") % {"error": text(error)})
        return HttpResponseRedirect(change.back)
    if done.show is not None:
        return done.show()
    messages.success(request, done.message)
    return HttpResponseRedirect(change.back)


def _say(form: ReasonForm, error: TaskCenterError) -> None:
    """Each fault at its field."""
    for fault in error.faults or (error,):
        form.add_error(_field(fault, form), text(fault))


def _field(error: TaskCenterError, form: ReasonForm) -> str | None:
    """The form's field that an error speaks of; None: the form as a whole."""
    named = str(error.details.get("field", ""))
    return named if named in form.fields else None


def _show(
    request: HttpRequest, change: Change, form: ReasonForm, status: int = 200
) -> HttpResponse:
    return page(
        request, "confirm.html", title=change.title, status=status, change=change, form=form
    )
