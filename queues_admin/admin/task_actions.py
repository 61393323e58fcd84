"""What an operator may do to one task; the table says when, the confirmation says with what effect."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from jobs.domain import ids
from jobs.domain.errors import Conflict, TaskNotFound
from jobs.domain.states import State, state_from_wire
from jobs.domain.transitions import BY_EVENT, Event, legal
from jobs.models import Task
from jobs.operations import actions
from jobs.selectors import tasks
from jobs.selectors.task_view import TaskView
from queues_admin.admin.base import actor
from queues_admin.admin.confirm import Change, Done, OptionalReasonForm, ReasonForm, confirm
from queues_admin.admin.task_page import labels, still_charged
from queues_admin.admin.task_search import task_uuid
from queues_admin.admin.words import word
from queues_admin.permissions import for_task


class SeenForm(OptionalReasonForm):
    """`seen`: the state that the confirmation spoke of."""

    seen = forms.CharField(widget=forms.HiddenInput)


class SeenReasonForm(ReasonForm):
    seen = forms.CharField(widget=forms.HiddenInput)


class CancelForm(SeenReasonForm):
    force = forms.BooleanField(
        label=gettext_lazy("End a running task at once, without waiting for its answer"),
        required=False,
    )
    field_order = ("reason", "force", "seen")


_FORMS: dict[Event, type[ReasonForm]] = {
    Event.RUN: SeenForm,
    Event.REDRIVE: SeenForm,
    Event.ARCHIVE: SeenForm,
    Event.DELETE: SeenReasonForm,
    Event.CANCEL: CancelForm,
}


def act(request: HttpRequest, task_id: str, verb: str) -> HttpResponse:
    """The confirmation page and its POST for run, archive, delete and cancel."""
    id_ = task_uuid(task_id)
    try:
        tenant_id = tasks.tenant_of(id_)
        view = tasks.get(id_, tenant_id)
    except TaskNotFound:
        raise Http404(_("There is no such task.")) from None
    event = _event(verb, view)
    here = reverse("admin:jobs_task_change", args=[ids.public_id(id_)])
    needed = for_task(event, refunds=still_charged(view))
    return confirm(
        request,
        Change(
            action=f"task.{event.value}",
            target=view.task_id,
            title=_("%(verb)s: task %(id)s")
            % {"verb": labels(event, view.state), "id": view.task_id},
            button=labels(event, view.state),
            effects=_effects(event, view),
            permissions=needed,
            back=reverse("admin:jobs_task_changelist") if event is Event.DELETE else here,
            perform=_performer(request, event, id_, tenant_id, needed),
            form=_FORMS[event],
            initial={"seen": view.state},
            before={
                "state": view.state,
                "status": view.status,
                "queue": view.queue,
                "credits": view.credits,
            },
            danger=event in (Event.CANCEL, Event.DELETE),
        ),
    )


def _event(verb: str, view: TaskView) -> Event:
    if verb == "run":
        return Event.REDRIVE if view.state == State.ARCHIVED.wire else Event.RUN
    event = next((e for e in (Event.ARCHIVE, Event.DELETE, Event.CANCEL) if e.value == verb), None)
    if event is None:
        raise Http404
    return event


def _performer(
    request: HttpRequest, event: Event, id_: UUID, tenant_id: int, needed: tuple[str, ...]
) -> Callable[[dict[str, Any]], Done]:
    who = actor(request)

    def perform(given: dict[str, Any]) -> Done:
        _still(id_, given["seen"])
        # `needed` was judged before the lock: a redrive in between charges again.
        if for_task(event, refunds=still_charged(tasks.get(id_, tenant_id))) != needed:
            raise Conflict(_("The task's state has changed meanwhile; look again."))
        if event is Event.CANCEL:
            return _cancel(id_, given, who, tenant_id)
        do = {Event.ARCHIVE: actions.archive, Event.DELETE: actions.delete}.get(
            event, actions.run_now
        )
        do(id_, actor=who, tenant_id=tenant_id)
        if event is Event.DELETE:
            return Done(message=_("The task is deleted."), after={"deleted": True})
        now = tasks.get(id_, tenant_id)
        after = {"state": now.state, "status": now.status, "queue": now.queue}
        return Done(
            message=_("Done: the task is %(state)s now.") % {"state": word(now.state)}, after=after
        )

    return perform


def _cancel(id_: UUID, given: dict[str, Any], who: str, tenant_id: int) -> Done:
    done = actions.cancel(
        id_, reason=given["reason"], actor=who, force=given["force"], tenant_id=tenant_id
    )
    after = {"requested": done.requested, "refunded": done.refunded, "credits": done.credits}
    if done.requested:
        return Done(
            message=_("The running task was asked to stop; its end and the refund follow."),
            after=after,
        )
    if done.refunded:
        message = ngettext(
            "The task is cancelled; %(credits)s credit went back to user %(user)s.",
            "The task is cancelled; %(credits)s credits went back to user %(user)s.",
            done.credits,
        )
        return Done(message=message % {"credits": done.credits, "user": done.user_id}, after=after)
    return Done(message=_("The task is cancelled."), after=after)


def _still(id_: UUID, seen: str) -> None:
    """Lock the row and refuse when its state is no longer the one that was confirmed: the effect would be another."""
    row = Task.objects.select_for_update(no_key=True).filter(pk=id_).only("state").first()
    if row is None:
        raise TaskNotFound
    if State(row.state).wire != seen:
        raise Conflict(
            _("The task's state has changed meanwhile; look again."), state=State(row.state).wire
        )


def _effects(event: Event, view: TaskView) -> list[str]:
    state = state_from_wire(view.state)
    if not legal(event, state):
        return [_("A task that is %(state)s does not allow this.") % {"state": word(view.state)}]
    found = [_now_and_then(event, view), *_special(event, view)]
    charged = still_charged(view)
    if charged and event in (Event.CANCEL, Event.DELETE):
        what = ngettext(
            "%(credits)s credit goes back to user %(user)s.",
            "%(credits)s credits go back to user %(user)s.",
            charged,
        )
        found.append(what % {"credits": charged, "user": view.user_id})
    elif event in (Event.CANCEL, Event.DELETE):
        found.append(_("No credits move."))
    return found


def _now_and_then(event: Event, view: TaskView) -> str:
    if event is Event.DELETE:
        return _("The task is removed; its events and ledger lines stay.")
    row = BY_EVENT[event]
    target = row.target.wire if row.target is not None else ""
    status = row.status.wire if row.status is not None else view.status
    return _("State: %(state)s → %(target)s. Status: %(before)s → %(status)s.") % {
        "state": word(view.state),
        "target": word(target),
        "before": word(view.status),
        "status": word(status),
    }


def _special(event: Event, view: TaskView) -> list[str]:
    if event is Event.REDRIVE:
        where = _("It goes back to queue %(queue)s with all its retries.") % {
            "queue": view.origin_queue
        }
        if view.credits and view.refunded_credits:
            again = ngettext(
                "User %(user)s is charged %(credits)s credit again, or it is refused.",
                "User %(user)s is charged %(credits)s credits again, or it is refused.",
                view.credits,
            )
            return [where, again % {"user": view.user_id, "credits": view.credits}]
        return [where]
    if event is Event.RUN and view.state == "pending":
        return [_("It moves to the head of its queue.")]
    if event is Event.ARCHIVE:
        return [
            _("It stays in its queue until somebody runs or deletes it; its time limit goes on.")
        ]
    if event is Event.CANCEL and view.state == "active":
        return [_("A run is active: it is asked to stop, and the end follows when it answers.")]
    return []
