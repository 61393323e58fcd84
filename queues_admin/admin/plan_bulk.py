"""The task list's buttons that make a plan of all tasks its filter shows."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from jobs.domain.plans import PlanAction
from jobs.domain.states import Status
from jobs.selectors import plans, queues
from jobs.selectors.plans import PlanFilter
from jobs.selectors.task_filters import TaskFilter
from queues_admin.admin.base import may, read_only
from queues_admin.admin.lacking import sentences
from queues_admin.admin.plan_actions import PlanButton, least
from queues_admin.admin.plan_words import ACTIONS, PICKED
from queues_admin.admin.whose import slug


@dataclass(frozen=True, kw_only=True, slots=True)
class PickButton:
    """`action`: what the form's button of this label asks a plan for."""

    label: str
    action: str
    danger: bool


_INTERNAL = {None: "all", True: "true", False: "false"}


def buttons(request: HttpRequest, wanted: TaskFilter, tenant_id: int) -> list[PlanButton]:
    """The list's buttons for all tasks (of the tenant) that its filter shows."""
    given = _plannable(wanted)
    given["internal"] = _INTERNAL[wanted.internal]
    if len(given) == 1 or read_only():
        return []
    tenant = slug(tenant_id)
    whose = {"tenant": tenant} if tenant else {}
    return [
        PlanButton(
            label=str(ACTIONS[action.value]),
            url=f"{reverse('admin:jobs_plan_new')}?{urlencode({'action': action.value, **given, **whose})}",
            danger=action in (PlanAction.CANCEL, PlanAction.DELETE),
        )
        for action in _offered(wanted, tenant_id)
        if may(request, *least(request, action))
    ]


def picked(request: HttpRequest, wanted: TaskFilter, tenant_id: int) -> list[PickButton]:
    """The list's buttons for the tasks that are ticked in it."""
    if read_only():
        return []
    return [
        PickButton(
            label=_picked(request, action),
            action=action.value,
            danger=action in (PlanAction.CANCEL, PlanAction.DELETE),
        )
        for action in _offered(wanted, tenant_id)
        if may(request, *least(request, action))
    ]


def _picked(request: HttpRequest, action: PlanAction) -> str:
    """A cancel gives back what was charged, so it is named for those who may do that."""
    if action is PlanAction.CANCEL and may(request, "jobs.refund_task"):
        return _("Cancel + refund")
    return str(PICKED[action.value])


def lacking(request: HttpRequest, wanted: TaskFilter, tenant_id: int) -> list[str]:
    """Those of the list's buttons that this person does not have."""
    if not _plannable(wanted):
        return []
    offered = _offered(wanted, tenant_id)
    return sentences(request, [(str(ACTIONS[a.value]), least(request, a)) for a in offered])


def _plannable(wanted: TaskFilter) -> dict[str, Any]:
    """A list's filter as that of a plan, but for internal tasks; empty when no plan can have it."""
    fields = {name: getattr(wanted, name) for name in TaskFilter.__struct_fields__}
    given = {} if wanted.payload else plans.stored(PlanFilter(**fields))
    given.pop("internal", None)
    return given


def _offered(wanted: TaskFilter, tenant_id: int) -> list[PlanAction]:
    """What makes sense on a state's tab; a dead letter has failed already and is not cancelled any more."""
    state = wanted.state
    if state == "completed":
        return [PlanAction.DELETE]
    if state == "active":
        return [PlanAction.CANCEL]
    usual = [PlanAction.RETRY, PlanAction.ARCHIVE, PlanAction.CANCEL, PlanAction.DELETE]
    if state == "archived":
        usual.remove(PlanAction.ARCHIVE)
        are_dead = wanted.status == Status.FAILURE.wire
        if are_dead or not queues.put_aside(wanted.queue, tenant_id):
            usual.remove(PlanAction.CANCEL)
    return usual
