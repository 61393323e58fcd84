"""One task: its facts, why it isn't running, its runs and timeline, its money, what may be done."""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from jobs.domain import ids
from jobs.domain.errors import TaskNotFound
from jobs.domain.states import state_from_wire, status_from_wire
from jobs.domain.transitions import Event, actions
from jobs.models import CreditEntry, PlatformTask
from jobs.selectors import limits, task_history, tasks
from jobs.selectors.masking import masked
from jobs.selectors.task_view import TaskView
from jobs.store import sealed
from queues_admin.admin.accounts import lines
from queues_admin.admin.base import may, page, read_only
from queues_admin.admin.lacking import sentences
from queues_admin.admin.task_search import task_uuid
from queues_admin.admin.task_why import reasons
from queues_admin.admin.whose import slug
from queues_admin.admin.words import word
from queues_admin.permissions import for_task

LEDGER_SHOWN = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Button:
    label: str
    url: str
    danger: bool


def detail(request: HttpRequest, task_id: str) -> HttpResponse:
    id_ = task_uuid(task_id)
    try:
        tenant_id = tasks.tenant_of(id_)
        view = tasks.get(id_, tenant_id)
        attempts = task_history.attempts(id_, tenant_id)
        events = task_history.events(id_, tenant_id)
    except TaskNotFound:
        raise Http404(_("There is no such task.")) from None
    return page(
        request,
        "task.html",
        title=_("Task %(id)s") % {"id": view.task_id},
        task=view,
        nine=_nine(view),
        reasons=reasons(id_, view),
        buttons=buttons(request, id_, view),
        lacking=lacking(request, view),
        tenant=slug(tenant_id),
        tenant_id=tenant_id,
        shards=_shards(view, slug(tenant_id)),
        payload=pretty(view.payload),
        result=None if view.result is None else pretty(view.result),
        attempts=[
            (attempt, None if attempt.result is None else pretty(attempt.result))
            for attempt in attempts.items
        ],
        events=[(event, pretty(event.detail) if event.detail else "") for event in events.items],
        entries=_ledger(request, id_),
        platform=_platform(id_),
        limit=limits.standing(id_),
        related=_related(view),
    )


def labels(event: Event, state: str) -> str:
    """The guide's words for its buttons."""
    if event is Event.RUN:
        return _("Run") if state == "pending" else _("Run Now")
    words = {
        Event.REDRIVE: _("Run"),
        Event.CANCEL: _("Cancel"),
        Event.ARCHIVE: _("Archive"),
        Event.DELETE: _("Delete"),
    }
    return words[event]


def still_charged(view: TaskView) -> int:
    """Credits that a cancel would give back."""
    ended = view.state == "completed" or (view.state == "archived" and view.status == "FAILURE")
    return 0 if ended else view.credits


def pretty(value: Any) -> str:
    """JSON to read, secrets masked."""
    plain = msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
    return json.dumps(masked(plain), indent=2, ensure_ascii=False, default=str)


def _nine(view: TaskView) -> list[tuple[str, Any]]:
    """Section 2.3 of the guide, by its names; the payload stands below."""
    return [
        ("ID", view.job_id),
        ("Type", view.type),
        ("Queue", view.queue),
        ("State", word(view.state)),
        (gettext_noop("Retried"), view.retried),
        (gettext_noop("Max Retry"), view.max_retries),
        ("Next Process At", view.next_process_at),
        ("Last Error", (view.last_error or "").split("\n", 1)[0]),
    ]


def buttons(request: HttpRequest, id_: UUID, view: TaskView) -> list[Button]:
    """What the table allows in this state and this person may do."""
    if read_only():
        return []
    found = []
    for event in _events(view):
        if may(request, *for_task(event, refunds=still_charged(view))):
            verb = "run" if event is Event.REDRIVE else event.value
            url = reverse("admin:jobs_task_act", args=[ids.public_id(id_), verb])
            danger = event in (Event.CANCEL, Event.DELETE)
            found.append(Button(label=labels(event, view.state), url=url, danger=danger))
    return found


def lacking(request: HttpRequest, view: TaskView) -> list[str]:
    """What the table allows in this state and this person may not do."""
    refunds = still_charged(view)
    return sentences(
        request,
        [(labels(e, view.state), for_task(e, refunds=refunds)) for e in _events(view)],
    )


def _events(view: TaskView) -> tuple[Event, ...]:
    return actions(state_from_wire(view.state), status_from_wire(view.status))


def _ledger(request: HttpRequest, task_id: UUID) -> list[dict[str, Any]] | None:
    if not may(request, "jobs.view_creditentry"):
        return None
    return lines(list(CreditEntry.objects.filter(task_id=task_id).order_by("pk")[:LEDGER_SHOWN]))


def _platform(task_id: UUID) -> dict[str, Any] | None:
    known = PlatformTask.objects.filter(pk=task_id).first()
    if known is None:
        return None
    answer = sealed.shown_value(known.answer)
    return {"known": known, "answer": pretty(answer) if answer is not None else ""}


def _shards(view: TaskView, tenant: str) -> list[tuple[str, str]]:
    """A parent's shards as (words, query); the failed ones apart."""
    counted = view.shards
    if not counted:
        return []
    whose = {"parent": view.task_id, **({"tenant": tenant} if tenant else {})}
    told = {"total": counted.total, "done": counted.done}
    found = [(_("%(done)s of %(total)s done") % told, urlencode(whose))]
    if counted.failed:
        failed = _("%(failed)s failed") % {"failed": counted.failed}
        found.append((failed, urlencode({**whose, "status": "FAILURE"})))
    return found


def _related(view: TaskView) -> list[tuple[str, str]]:
    """Lists that this task belongs to, as (words, query)."""
    found = []
    if view.user_id is not None:
        found.append((_("Tasks of user %(user)s") % {"user": view.user_id}, f"user:{view.user_id}"))
    if view.business_id:
        found.append(
            (
                _("Tasks of business id %(id)s") % {"id": view.business_id},
                f"business:{view.business_id}",
            )
        )
    if view.trace_id:
        found.append((_("Tasks of this trace"), f"trace:{view.trace_id}"))
    return found
