"""Plans in an operator's words."""

from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from jobs.selectors.plan_view import PlanView

ACTIONS = {
    "retry": gettext_lazy("Run All"),
    "cancel": gettext_lazy("Cancel All"),
    "archive": gettext_lazy("Archive All"),
    "delete": gettext_lazy("Delete All"),
    "redrive": gettext_lazy("Redrive All"),
}
PICKED = {
    "retry": gettext_lazy("Run"),
    "cancel": gettext_lazy("Cancel"),
    "archive": gettext_lazy("Archive"),
    "delete": gettext_lazy("Delete"),
}
STATES = {
    "freezing": gettext_lazy("collecting its tasks"),
    "preview": gettext_lazy("preview: nothing is changed yet"),
    "undo": gettext_lazy("waiting: may be undone"),
    "running": gettext_lazy("running"),
    "paused": gettext_lazy("paused"),
    "done": gettext_lazy("done"),
    "aborted": gettext_lazy("aborted"),
}
_REASONS = {
    "pending": gettext_lazy("it is pending"),
    "active": gettext_lazy("it is running"),
    "scheduled": gettext_lazy("it is scheduled"),
    "retry": gettext_lazy("it waits for a retry"),
    "archived": gettext_lazy("it is archived"),
    "completed": gettext_lazy("it has ended"),
    "aggregating": gettext_lazy("it waits for others"),
    "dead_letter": gettext_lazy("it is a dead letter: failed and refunded already"),
    "plan": gettext_lazy("it carries out a plan"),
    "changed": gettext_lazy("it changed after the preview"),
    "deleted": gettext_lazy("it was deleted after the preview"),
    "cancel_requested": gettext_lazy("its run was asked to stop; the end and the refund follow"),
    "insufficient_credits": gettext_lazy("its account is short of credits"),
    "locked": gettext_lazy("somebody else held it"),
}


def action_words(action: str, given: Mapping[str, Any]) -> str:
    """What a plan with this filter does; one of ticked tasks does it to those, not to all that fit."""
    return str(PICKED.get(action, ACTIONS[action]) if given.get("ids") else ACTIONS[action])


def in_undo_window(view: PlanView) -> bool:
    """Whether the first change is still to come."""
    return (
        view.state == "running" and view.starts_at is not None and view.starts_at > timezone.now()
    )


def state_words(view: PlanView) -> str:
    """The state as people see it: a plan that is to begin does not run yet, and one may have nothing to do."""
    if view.state == "preview" and not view.preview.tasks:
        return _("preview: nothing matches")
    return str(STATES["undo" if in_undo_window(view) else view.state])


def reason_words(code: str) -> str:
    """A reason's code in words; an unknown one stays as it is."""
    return str(_REASONS.get(code, code))


def filter_words(given: dict[str, Any]) -> str:
    """A filter as one line."""
    parts = []
    for name, value in given.items():
        if name == "payload":
            parts += [f"payload.{path} = {text}" for path, text in value.items()]
        elif name == "internal":
            parts.append(_("internal tasks only") if value else _("no internal tasks"))
        elif name == "ids":
            n = len(value)
            parts.append(ngettext("%(n)s selected task", "%(n)s selected tasks", n) % {"n": n})
        elif isinstance(value, list):
            parts.append(f"{name} = {_(' or ').join(value)}")
        else:
            parts.append(f"{name} = {value}")
    return ", ".join(parts)
