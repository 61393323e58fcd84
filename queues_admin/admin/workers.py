"""Servers: the worker processes, what they run, quiet and stop."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from jobs.domain import ids
from jobs.models import Worker
from jobs.operations import workers
from jobs.selectors import workers as reading
from jobs.store import catalog, postgres
from queues_admin.admin.base import BackOffice, Route, page
from queues_admin.admin.confirm import Change, Done, OptionalReasonForm, ReasonForm, confirm

OPERATE = "jobs.operate_worker"
RECENT_DEAD = 20
RUNNING_SHOWN = 100


class SlotsForm(OptionalReasonForm):
    """How many tasks the worker runs at once."""

    concurrency = forms.IntegerField(
        label=gettext_lazy("Concurrency"), min_value=1, max_value=workers.MOST_CONCURRENCY
    )
    field_order = ("concurrency", "reason")


@admin.register(Worker)
class WorkerAdmin(BackOffice):
    def routes(self) -> list[Route]:
        view = "jobs.view_worker"
        return [
            Route(path="", view=overview, name="changelist", permission=view),
            Route(path="<int:worker_id>/", view=detail, name="change", permission=view),
            Route(path="<int:worker_id>/quiet/", view=quiet, name="quiet", permission=view),
            Route(path="<int:worker_id>/wake/", view=wake, name="wake", permission=view),
            Route(path="<int:worker_id>/stop/", view=stop, name="stop", permission=view),
            Route(path="<int:worker_id>/slots/", view=slots, name="slots", permission=view),
        ]


def overview(request: HttpRequest) -> HttpResponse:
    dead = Worker.objects.filter(dead_at__gt=Now() - timedelta(days=1)).order_by("-dead_at")
    return page(
        request,
        "workers.html",
        title=_("Servers"),
        living=reading.listing().items,
        dead=dead[:RECENT_DEAD],
        dead_count=dead.count(),
    )


def detail(request: HttpRequest, worker_id: int) -> HttpResponse:
    worker = _worker(worker_id)
    tasks = _running(worker_id)
    return page(
        request,
        "worker.html",
        title=_("Server %(name)s") % {"name": worker.name},
        worker=worker,
        stats=_plain(worker.stats),
        running=tasks[:RUNNING_SHOWN],
        more=len(tasks) > RUNNING_SHOWN,
    )


def quiet(request: HttpRequest, worker_id: int) -> HttpResponse:
    effect = _(
        "It takes no more tasks; running ones finish. It stays until it is woken or stopped."
    )
    return confirm(request, _change(worker_id, "quiet", _("Quiet"), effect))


def wake(request: HttpRequest, worker_id: int) -> HttpResponse:
    return confirm(
        request, _change(worker_id, "", _("Take tasks again"), _("It takes tasks again."))
    )


def stop(request: HttpRequest, worker_id: int) -> HttpResponse:
    effect = _(
        "It takes no more tasks, waits for running ones up to its grace time, hands the rest back and ends."
    )
    return confirm(request, _change(worker_id, "stop", _("Stop"), effect))


def slots(request: HttpRequest, worker_id: int) -> HttpResponse:
    worker = _living(worker_id)
    now = int(worker.stats.get("concurrency") or 1)

    def perform(given: dict[str, Any]) -> Done:
        workers.set_concurrency(worker_id, given["concurrency"])
        return Done(
            message=_("Worker %(name)s was told.") % {"name": worker.name},
            after={"concurrency": given["concurrency"]},
        )

    change = Change(
        action="worker.concurrency",
        target=f"{worker.name} #{worker_id}",
        title=_("Concurrency: server %(name)s") % {"name": worker.name},
        button=_("Change"),
        effects=[_("It runs that many tasks at once from now on; none that runs is stopped.")],
        permissions=(OPERATE,),
        back=reverse("admin:jobs_worker_changelist"),
        perform=perform,
        form=SlotsForm,
        initial={"concurrency": now},
        before={"concurrency": now},
    )
    return confirm(request, change)


def _change(worker_id: int, verb: str, button: str, effect: str) -> Change:
    worker = _living(worker_id)

    def perform(_given: dict[str, Any]) -> Done:
        workers.command(worker_id, verb)
        return Done(
            message=_("Worker %(name)s was told.") % {"name": worker.name}, after={"command": verb}
        )

    return Change(
        action=f"worker.{verb or 'wake'}",
        target=f"{worker.name} #{worker_id}",
        title=_("%(verb)s: server %(name)s") % {"verb": button, "name": worker.name},
        button=button,
        effects=[effect],
        permissions=(OPERATE,),
        back=reverse("admin:jobs_worker_changelist"),
        perform=perform,
        form=ReasonForm if verb == "stop" else OptionalReasonForm,
        before={"command": worker.command},
        danger=verb == "stop",
    )


def _running(worker_id: int) -> list[dict[str, Any]]:
    """One more than is shown, the oldest first."""
    rows = postgres.query(
        "SELECT t.id, i.type, t.queue_id, t.started_at, t.progress, i.custom_id FROM task t"
        " JOIN task_info i ON i.id = t.id WHERE t.state = 2 AND t.worker_id = %s ORDER BY t.started_at LIMIT %s",
        [worker_id, RUNNING_SHOWN + 1],
    )
    known = catalog.queues()
    return [
        {
            "task_id": row[5] or ids.public_id(row[0]),
            "slug": ids.public_id(row[0]),
            "type": row[1],
            "queue": known.name(row[2]),
            "started_at": row[3],
            "progress": row[4],
        }
        for row in rows
    ]


_FACTS = {
    "host": gettext_noop("Host"),
    "pid": gettext_noop("Process id"),
    "version": gettext_noop("RQ's version"),
    "queues": gettext_noop("Queues"),
    "strict": gettext_noop("Strict order of queues"),
    "concurrency": gettext_noop("Concurrency"),
    "running": gettext_noop("Running tasks"),
    "lanes": gettext_noop("By lane"),
    "succeeded": gettext_noop("Succeeded"),
    "failed": gettext_noop("Failed"),
    "quiet": gettext_noop("Quiet"),
    "rss_bytes": gettext_noop("Memory"),
    "abandoned_threads": gettext_noop("Abandoned threads"),
}


def _plain(stats: dict[str, Any]) -> list[tuple[str, str]]:
    """What the process says of itself, in words; its list of tasks is shown apart."""
    return [(_(words), _fact(key, stats[key])) for key, words in _FACTS.items() if key in stats]


def _fact(key: str, value: Any) -> str:
    if key == "rss_bytes":
        return str(filesizeformat(value))
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, dict):
        return ", ".join(f"{name} {n}" for name, n in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _living(worker_id: int) -> Worker:
    worker = _worker(worker_id)
    if worker.dead_at is not None:
        raise Http404
    return worker


def _worker(worker_id: int) -> Worker:
    found = Worker.objects.filter(pk=worker_id).first()
    if found is None:
        raise Http404
    return found
