"""Plans: the bulk actions of the task list; preview, confirmation, progress, report."""

import csv
from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from jobs.builtin.reports import safe
from jobs.domain.errors import NotFound, TaskCenterError
from jobs.domain.plans import ItemState
from jobs.models import Plan
from jobs.selectors import plan_view, plans
from jobs.selectors.plan_view import PlanItemView, PlanView
from queues_admin.admin import plan_actions
from queues_admin.admin.base import BackOffice, Route, page
from queues_admin.admin.csv_file import Echo
from queues_admin.admin.keyset import newest_first, with_query
from queues_admin.admin.plan_words import (
    action_words,
    filter_words,
    in_undo_window,
    reason_words,
    state_words,
)
from queues_admin.admin.whose import slug

REFRESH_S = 3
SIZE = 50
_COLUMNS = ("task_id", "was", "queue", "user_id", "credits", "state", "reason", "error", "at")
_RESULTS = {
    "waiting": gettext_lazy("Waiting"),
    "done": gettext_lazy("Done"),
    "skipped": gettext_lazy("Skipped"),
    "failed": gettext_lazy("Failed"),
}


@admin.register(Plan)
class PlanAdmin(BackOffice):
    def routes(self) -> list[Route]:
        view = "jobs.view_plan"
        return [
            Route(path="", view=listing, name="changelist", permission=view),
            Route(path="new/", view=plan_actions.new, name="new", permission=view),
            Route(path="<int:plan_id>/", view=detail, name="change", permission=view),
            Route(path="<int:plan_id>/report.csv", view=report, name="report", permission=view),
            Route(
                path="<int:plan_id>/<slug:verb>/",
                view=plan_actions.act,
                name="act",
                permission=view,
            ),
        ]


def listing(request: HttpRequest) -> HttpResponse:
    shown = newest_first(request, Plan.objects.all())
    lines = [_line(plan) for plan in shown.items]
    return page(request, "plans.html", title=_("Plans"), page=shown, lines=lines)


def detail(request: HttpRequest, plan_id: int) -> HttpResponse:
    """Preview, then progress (the page asks again by itself), then the report."""
    view, tenant_id = found(plan_id)
    chosen = request.GET.get("result") or None
    try:
        items = plans.items(
            plan_id, state=chosen, after=request.GET.get("cursor") or None, limit=SIZE
        )
    except TaskCenterError:
        raise Http404 from None
    moving = view.state in ("running", "freezing")
    return page(
        request,
        "plan.html",
        title=_("Plan %(id)s: %(action)s")
        % {"id": plan_id, "action": action_words(view.action, view.filter)},
        plan=view,
        tenant=slug(tenant_id),
        tenant_id=tenant_id,
        words=state_words(view),
        filter=filter_words(view.filter),
        skipped=[(reason_words(s.reason), s) for s in view.preview.skipped],
        buttons=plan_actions.buttons(request, view),
        lacking=plan_actions.lacking(request, view),
        undo=in_undo_window(view),
        refresh_s=REFRESH_S if moving and not request.GET.get("cursor") else None,
        tabs=_tabs(request, view, chosen),
        items=[(reason_words(i.reason), i) for i in items.items],
        older=with_query(request, cursor=items.next_cursor) if items.next_cursor else None,
        first=with_query(request, cursor=None) if request.GET.get("cursor") else None,
    )


def report(request: HttpRequest, plan_id: int) -> HttpResponse:
    """The whole report as CSV, streamed."""
    found(plan_id)
    answer = StreamingHttpResponse(_csv(plan_id), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="plan-{plan_id}.csv"'
    return cast(HttpResponse, answer)


def found(plan_id: int) -> tuple[PlanView, int]:
    """The plan and its tenant, whichever it is. Raises Http404."""
    row = Plan.objects.filter(pk=plan_id).only("tenant_id").first()
    if row is None:
        raise Http404(_("There is no such plan."))
    try:
        return plans.get(plan_id, row.tenant_id), row.tenant_id
    except NotFound:
        raise Http404(_("There is no such plan.")) from None


def _line(plan: Plan) -> dict[str, Any]:
    view = plan_view.view(plan)
    return {
        "view": view,
        "action": action_words(view.action, view.filter),
        "words": state_words(view),
        "undo": in_undo_window(view),
        "filter": filter_words(view.filter),
    }


def _tabs(request: HttpRequest, view: PlanView, chosen: str | None) -> list[dict[str, Any]]:
    done = view.progress
    listed = sum(s.tasks for s in view.preview.skipped if s.reason != "completed")
    counts = {
        ItemState.WAITING: done.waiting,
        ItemState.DONE: done.done,
        ItemState.SKIPPED: done.skipped + listed,
        ItemState.FAILED: done.failed,
    }
    tabs: list[tuple[str | None, Any, int]] = [(None, _("All"), sum(counts.values()))]
    tabs += [(state.wire, _RESULTS[state.wire], n) for state, n in counts.items()]
    return [
        {
            "label": label,
            "count": n,
            "query": with_query(request, result=name, cursor=None),
            "chosen": name == chosen,
        }
        for name, label, n in tabs
    ]


def _csv(plan_id: int) -> Iterator[str]:
    writer = csv.writer(Echo())
    yield writer.writerow(_COLUMNS)
    for item in plans.every_item(plan_id):
        yield writer.writerow([_cell(item, name) for name in _COLUMNS])


def _cell(item: PlanItemView, name: str) -> Any:
    value = getattr(item, name)
    return value.isoformat() if isinstance(value, datetime) else safe(value)
