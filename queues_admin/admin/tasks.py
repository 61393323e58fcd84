"""Tasks: the list with tabs, filters and search."""

from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _

from jobs.domain.errors import TaskCenterError
from jobs.domain.states import State, Status
from jobs.handlers.registry import names
from jobs.models import Platform, Task, Tenant
from jobs.selectors import tasks
from jobs.selectors.paging import Page
from jobs.selectors.task_filters import TaskFilter
from jobs.selectors.task_view import TaskView
from jobs.store import catalog
from queues_admin.admin import plan_bulk
from queues_admin.admin.base import BackOffice, Route, page
from queues_admin.admin.keyset import with_query
from queues_admin.admin.numbers import state_counts
from queues_admin.admin.task_actions import act
from queues_admin.admin.task_page import detail
from queues_admin.admin.task_search import FILTERS, TIMES, filters, search
from queues_admin.admin.whose import chosen, slug
from queues_admin.api.errors import text as said

SIZE = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Tab:
    """One state's tab; `query` is its address."""

    label: str
    count: int
    query: str
    chosen: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One of a few views of the list; `query` is its address."""

    label: str
    query: str
    chosen: bool


@admin.register(Task)
class TaskAdmin(BackOffice):
    show_full_result_count = False

    def routes(self) -> list[Route]:
        view = "jobs.view_task"
        return [
            Route(path="", view=listing, name="changelist", permission=view),
            Route(path="<str:task_id>/", view=detail, name="change", permission=view),
            Route(path="<str:task_id>/<slug:verb>/", view=act, name="act", permission=view),
        ]


def listing(request: HttpRequest) -> HttpResponse:
    """Newest first; every filter stands in the address."""
    text, tenant_id = request.GET.get("q", ""), chosen(request)
    try:
        found = search(text, filters(request), tenant_id)
        if found.task is not None:
            return HttpResponseRedirect(reverse("admin:jobs_task_change", args=[found.task]))
        shown = tasks.listing(
            found.wanted,
            after=request.GET.get("cursor") or None,
            limit=SIZE,
            tenant_id=tenant_id,
        )
    except TaskCenterError as error:
        messages.error(request, said(error))
        frame = _frame(request, TaskFilter(), tenant_id)
        return page(request, "tasks.html", title=_("Tasks"), status=400, **frame)
    return page(
        request,
        "tasks.html",
        title=_("Tasks"),
        shown=shown,
        searched=found.field,
        **_frame(request, found.wanted, tenant_id),
        **_neighbours(request, shown),
    )


def _frame(request: HttpRequest, wanted: TaskFilter, tenant_id: int) -> dict[str, Any]:
    """What surrounds the list: tabs, choices and what is chosen."""
    queue = wanted.queue if wanted.queue in catalog.queues().by_name else None
    return {
        "given": {name: request.GET.get(name, "") for name in (*FILTERS, *TIMES, "q")},
        "tabs": _tabs(request, wanted, queue, tenant_id),
        "tenant": slug(tenant_id),
        "tenant_id": tenant_id,
        "many_tenants": Tenant.objects.exclude(pk=catalog.DEFAULT_TENANT).exists(),
        "state": wanted.state,
        "internal": _internal(request, wanted),
        "internal_asked": request.GET.get("internal", ""),
        **_picking(request, wanted, tenant_id),
        "bulk": plan_bulk.buttons(request, wanted, tenant_id),
        "lacking": plan_bulk.lacking(request, wanted, tenant_id),
        "queues": [row.name for row in catalog.queues().rows if row.tenant_id == tenant_id],
        "statuses": [status.wire for status in Status if status.wire],
        "types": names(),
        "platforms": _platforms(tenant_id),
    }


def _picking(request: HttpRequest, wanted: TaskFilter, tenant_id: int) -> dict[str, Any]:
    """The boxes before the tasks: what their buttons do, and the address with all of them ticked, or none."""
    ticked = request.GET.get("ticked") == "all"
    return {
        "picked": plan_bulk.picked(request, wanted, tenant_id),
        "ticked": ticked,
        "tick": with_query(request, ticked=None if ticked else "all"),
        "list_query": with_query(request, ticked=None)[1:],
    }


def _platforms(tenant_id: int) -> list[str]:
    rows = Platform.objects.filter(tenant_id=tenant_id).order_by("name")
    return list(rows.values_list("name", flat=True))


def _tabs(request: HttpRequest, wanted: TaskFilter, queue: str | None, tenant_id: int) -> list[Tab]:
    counts = state_counts(queue, tenant_id)
    everything = Tab(
        label=_("All"),
        count=sum(n for _state, n in counts),
        query=with_query(request, state=None, cursor=None, ticked=None),
        chosen=wanted.state is None,
    )
    return [everything, *(_tab(request, wanted, state, n) for state, n in counts)]


def _tab(request: HttpRequest, wanted: TaskFilter, state: State, count: int) -> Tab:
    return Tab(
        label=_(state.wire.capitalize()),
        count=count,
        query=with_query(request, state=state.wire, cursor=None, ticked=None),
        chosen=wanted.state == state.wire,
    )


def _internal(request: HttpRequest, wanted: TaskFilter) -> list[Choice]:
    """Whether the engine's own tasks are hidden, shown, or alone."""
    words = ((False, "false", _("hidden")), (None, "all", _("shown")), (True, "true", _("only")))
    return [
        Choice(
            label=label,
            query=with_query(request, internal=asked, cursor=None, ticked=None),
            chosen=wanted.internal is value,
        )
        for value, asked, label in words
    ]


def _neighbours(request: HttpRequest, shown: Page[TaskView]) -> dict[str, Any]:
    older = (
        with_query(request, cursor=shown.next_cursor, ticked=None) if shown.next_cursor else None
    )
    first = with_query(request, cursor=None, ticked=None) if request.GET.get("cursor") else None
    return {"older": older, "first": first}
