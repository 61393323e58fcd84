"""What an operator does with plans: make one of the present filter, execute, pause, resume, abort."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from jobs.builtin import plans as builtin
from jobs.domain.plans import EVENTS, WATCHED, PlanAction, PlanState
from jobs.models import Plan
from jobs.operations import plans as operations
from jobs.selectors import plan_view, plans
from jobs.selectors.plan_view import PlanView
from jobs.selectors.plans import PlanFilter
from queues_admin.admin.base import actor, may, read_only
from queues_admin.admin.confirm import Change, Done, OptionalReasonForm, ReasonForm, confirm
from queues_admin.admin.lacking import sentences
from queues_admin.admin.plan_filter import list_url, wanted_by
from queues_admin.admin.plan_words import action_words, filter_words
from queues_admin.admin.whose import chosen
from queues_admin.permissions import for_task


class PlanForm(ReasonForm):
    """The filter as the list had it; nothing of it can be typed here."""


class SlowForm(PlanForm):
    rate = forms.IntegerField(
        label=gettext_lazy("Tasks a minute (empty: as fast as possible)"),
        min_value=1,
        max_value=operations.MOST_A_MINUTE,
        required=False,
    )
    canary = forms.IntegerField(
        label=gettext_lazy("Canary: so many first, then wait how they end"),
        min_value=1,
        max_value=operations.MOST_CANARIES,
        required=False,
    )
    stop_percent = forms.IntegerField(
        label=gettext_lazy("Stop when more than this percentage fails again"),
        min_value=1,
        max_value=100,
        initial=50,
    )
    field_order = ("rate", "canary", "stop_percent", "reason")


class CountForm(OptionalReasonForm):
    count = forms.IntegerField(label=gettext_lazy("Type the number of tasks to confirm"))
    field_order = ("count", "reason")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanButton:
    label: str
    url: str
    danger: bool


def new(request: HttpRequest) -> HttpResponse:
    """Say what is to be planned; the POST freezes it and leads to the preview."""
    action = _action(request.GET.get("action", ""))
    wanted, tenant_id = wanted_by(request), chosen(request)
    if "list" in request.GET and not wanted.ids:
        messages.error(request, _("No task is selected: tick at least one."))
        return HttpResponseRedirect(list_url(request))
    if not plans.stored(wanted).keys() - {"internal"}:
        raise Http404(_("A plan needs a filter."))
    made: list[int] = []

    def perform(given: dict[str, Any]) -> Done:
        options = {name: given[name] for name in SlowForm.base_fields if name in given}
        plan = builtin.draft(action, wanted, actor=actor(request), tenant_id=tenant_id, **options)
        made.append(plan.pk)
        after = {"plan": plan.pk, "filter": plan.filter, "tasks": plan.tasks}
        return Done(message="", after=after, show=lambda: HttpResponseRedirect(url_of(plan.pk)))

    return confirm(
        request,
        Change(
            action="plan.create",
            target=f"plan:{action.value}",
            title=_("%(action)s: make a plan")
            % {"action": action_words(action.value, plans.stored(wanted))},
            button=_("Preview"),
            effects=[
                _looked_up(wanted),
                _("Nothing is changed yet: the preview shows the effect, and then you decide."),
            ],
            permissions=least(request, action),
            back=list_url(request),
            perform=perform,
            form=SlowForm if action in WATCHED else PlanForm,
        ),
    )


def _looked_up(wanted: PlanFilter) -> str:
    what = filter_words(plans.stored(wanted))
    if wanted.ids:
        return _("Looked up and kept as a plan: %(filter)s.") % {"filter": what}
    return _("All tasks with %(filter)s are looked up and kept as a plan.") % {"filter": what}


def act(request: HttpRequest, plan_id: int, verb: str) -> HttpResponse:
    """The confirmation page and its POST for execute, pause, resume and abort."""
    plan = Plan.objects.filter(pk=plan_id).first()
    if plan is None or verb not in _VERBS:
        raise Http404(_("There is no such plan."))
    view = plan_view.view(plan)
    what = _verb(view, verb)
    typed = verb == "execute" and view.preview.typed_count
    return confirm(
        request,
        Change(
            action=f"plan.{verb}",
            target=f"plan:{plan_id}",
            title=_("%(verb)s: plan %(id)s") % {"verb": what.label, "id": plan_id},
            button=str(what.label),
            effects=what.effects(view),
            permissions=permissions(view),
            back=url_of(plan_id),
            perform=lambda given: what.perform(plan, given, actor(request)),
            form=CountForm if typed else what.form,
            before={"state": view.state},
            danger=what.danger,
        ),
    )


def buttons(request: HttpRequest, view: PlanView) -> list[PlanButton]:
    """What the plan's state and this person's permissions allow."""
    if read_only() or not may(request, *permissions(view)):
        return []
    return [
        PlanButton(
            label=str(what.label),
            url=reverse("admin:jobs_plan_act", args=[view.id, verb]),
            danger=what.danger,
        )
        for verb, what in _offers(view)
    ]


def _offers(view: PlanView) -> list[tuple[str, "_Verb"]]:
    """What its state allows; one without tasks can only be closed."""
    verbs = [
        verb for verb in _ALLOWED.get(view.state, ()) if verb != "execute" or view.preview.tasks
    ]
    return [(verb, _verb(view, verb)) for verb in verbs]


def _verb(view: PlanView, verb: str) -> "_Verb":
    is_empty = view.state == "preview" and not view.preview.tasks
    return _CLOSE if verb == "abort" and is_empty else _VERBS[verb]


def lacking(request: HttpRequest, view: PlanView) -> list[str]:
    """Those of a plan's buttons that this person does not have."""
    needed = permissions(view)
    return sentences(request, [(str(what.label), needed) for _name, what in _offers(view)])


def permissions(view: PlanView) -> tuple[str, ...]:
    """Every permission that carrying this plan out needs; the same as for its tasks one by one."""
    needed: dict[str, None] = {}
    for event in EVENTS[PlanAction(view.action)]:
        needed.update(dict.fromkeys(for_task(event, refunds=view.preview.refunded_credits)))
    return tuple(needed)


def url_of(plan_id: int) -> str:
    return reverse("admin:jobs_plan_change", args=[plan_id])


def least(request: HttpRequest, action: PlanAction) -> tuple[str, ...]:
    """To make a plan; its preview shows whether more is needed. A cancel is also for those who only refund."""
    if action is PlanAction.CANCEL and may(request, "jobs.refund_task"):
        return ("jobs.refund_task",)
    return ("jobs.operate_task",)


def _action(text: str) -> PlanAction:
    try:
        return PlanAction(text)
    except ValueError:
        raise Http404 from None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Verb:
    label: Any
    effects: Callable[[PlanView], list[str]]
    perform: Callable[[Plan, dict[str, Any], str], Done]
    form: type[ReasonForm] = OptionalReasonForm
    danger: bool = False


def _execute(plan: Plan, given: dict[str, Any], who: str) -> Done:
    # the permissions were judged by this `plan`: frozen since, it may refund what was not known yet
    operations.expect(plan, PlanState.PREVIEW)
    operations.execute(plan.pk, actor=who, tenant_id=plan.tenant_id, count=given.get("count"))
    message = _("The plan begins after the undo window; until then an abort changes nothing.")
    return Done(message=message, after={"tasks": plan.tasks})


def _pause(plan: Plan, given: dict[str, Any], _who: str) -> Done:
    operations.pause(plan.pk, tenant_id=plan.tenant_id, reason=given["reason"])
    return Done(message=_("The plan is paused."), after={"state": "paused"})


def _resume(plan: Plan, _given: dict[str, Any], _who: str) -> Done:
    operations.resume(plan.pk, tenant_id=plan.tenant_id)
    return Done(message=_("The plan goes on."), after={"state": "running"})


def _abort(plan: Plan, given: dict[str, Any], _who: str) -> Done:
    operations.abort(plan.pk, tenant_id=plan.tenant_id, reason=given["reason"])
    return Done(message=_("The plan is aborted."), after={"state": "aborted"})


def _close(plan: Plan, given: dict[str, Any], _who: str) -> Done:
    operations.abort(plan.pk, tenant_id=plan.tenant_id, reason=given["reason"])
    return Done(message=_("The plan is closed."), after={"state": "aborted"})


def _execute_effects(view: PlanView) -> list[str]:
    preview = view.preview
    n = preview.tasks
    tasks = ngettext("%(action)s: %(n)s task.", "%(action)s: %(n)s tasks.", n)
    lines = [tasks % {"action": action_words(view.action, view.filter), "n": n}]
    if n := preview.users:
        lines.append(ngettext("%(n)s user has some.", "%(n)s users have some.", n) % {"n": n})
    if n := preview.refunded_credits:
        lines.append(ngettext("%(n)s credit goes back.", "%(n)s credits go back.", n) % {"n": n})
    if n := preview.charged_credits:
        again = ngettext("%(n)s credit is charged again.", "%(n)s credits are charged again.", n)
        lines.append(again % {"n": n})
    return lines


_VERBS = {
    "execute": _Verb(
        label=gettext_lazy("Execute"), effects=_execute_effects, perform=_execute, danger=True
    ),
    "pause": _Verb(
        label=gettext_lazy("Pause"),
        effects=lambda _view: [_("No further task is changed until somebody resumes the plan.")],
        perform=_pause,
    ),
    "resume": _Verb(
        label=gettext_lazy("Resume"),
        effects=lambda _view: [_("The plan goes on with the tasks that are left.")],
        perform=_resume,
    ),
    "abort": _Verb(
        label=gettext_lazy("Abort"),
        effects=lambda _view: [_("The plan ends for good; what it has changed stays changed.")],
        perform=_abort,
        danger=True,
    ),
}
_CLOSE = _Verb(
    label=gettext_lazy("Close"),
    effects=lambda _view: [_("No task matches its filter: there is nothing to change.")],
    perform=_close,
)
_ALLOWED = {
    "freezing": ("abort",),
    "preview": ("execute", "abort"),
    "running": ("pause", "abort"),
    "paused": ("resume", "abort"),
}
