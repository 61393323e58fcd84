"""Routes under /api/v1/."""

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from jobs.domain.errors import NotFound
from queues_admin.api import (
    accounts,
    audit,
    docs,
    errors,
    keys,
    plans,
    platforms,
    queue,
    queues,
    schedules,
    tasks,
    tenants,
    webhooks,
    workers,
)


@csrf_exempt
def nowhere(request: HttpRequest, rest: str = "") -> HttpResponse:
    """The API's own 404, in its own shape."""
    return errors.respond(request, NotFound("There is no such endpoint", path=request.path))


urlpatterns = [
    path("tasks", tasks.Tasks.as_view()),
    path("enqueue", tasks.Enqueue.as_view()),
    path("tasks/batch", tasks.TaskBatch.as_view()),
    path("tasks/<str:task_id>", tasks.Task.as_view()),
    path("status/<str:task_id>", tasks.Status.as_view()),
    path("tasks/<str:task_id>/attempts", tasks.Attempts.as_view()),
    path("tasks/<str:task_id>/events", tasks.Events.as_view()),
    path("queue/stats", queue.Stats.as_view()),
    path("queue/health", queue.HealthView.as_view()),
    path("queue/overview", queue.OverviewView.as_view()),
    path("queue/tasks", queue.QueueTasks.as_view()),
    path("queue/tasks/retry", queue.Retry.as_view()),
    path("queue/tasks/archive", queue.Archive.as_view()),
    path("queue/tasks/cancel", queue.CancelView.as_view()),
    path("queue/tasks/cancel/batch", queue.CancelBatchView.as_view()),
    path("queue/tasks/<str:task_id>", queue.QueueTaskView.as_view()),
    path("queues", queues.Queues.as_view()),
    path("queues/<str:name>", queues.Queue.as_view()),
    path("queues/<str:name>/history", queues.History.as_view()),
    path("queues/<str:name>/pause", queues.Pause.as_view()),
    path("queues/<str:name>/resume", queues.Resume.as_view()),
    path("queues/<str:name>/empty", queues.Empty.as_view()),
    path("workers", workers.Workers.as_view()),
    path("workers/<str:name>/quiet", workers.Quiet.as_view()),
    path("workers/<str:name>/wake", workers.Wake.as_view()),
    path("workers/<str:name>/stop", workers.Stop.as_view()),
    path("workers/<str:name>/concurrency", workers.Concurrency.as_view()),
    path("schedules", schedules.Schedules.as_view()),
    path("schedules/<str:schedule_id>", schedules.Schedule.as_view()),
    path("schedules/<str:schedule_id>/ticks", schedules.Ticks.as_view()),
    path("schedules/<str:schedule_id>/pause", schedules.Pause.as_view()),
    path("schedules/<str:schedule_id>/resume", schedules.Resume.as_view()),
    path("schedules/<str:schedule_id>/run", schedules.Run.as_view()),
    path("plans", plans.Plans.as_view()),
    path("plans/<str:plan_id>", plans.Plan.as_view()),
    path("plans/<str:plan_id>/items", plans.Items.as_view()),
    path("plans/<str:plan_id>/execute", plans.ExecuteView.as_view()),
    path("plans/<str:plan_id>/pause", plans.Pause.as_view()),
    path("plans/<str:plan_id>/resume", plans.Resume.as_view()),
    path("plans/<str:plan_id>/abort", plans.Abort.as_view()),
    path("platforms", platforms.Platforms.as_view()),
    path("platforms/<str:name>", platforms.Platform.as_view()),
    path("platforms/<str:name>/breaker", platforms.Breaker.as_view()),
    path("breakers", platforms.Breakers.as_view()),
    path("breakers/<str:name>", platforms.NamedBreaker.as_view()),
    path("webhooks/<str:platform>", webhooks.Webhook.as_view()),
    path("accounts", accounts.Accounts.as_view()),
    path("accounts/<str:user_id>", accounts.Account.as_view()),
    path("accounts/<str:user_id>/entries", accounts.Entries.as_view()),
    path("keys", keys.Keys.as_view()),
    path("keys/<str:key_id>", keys.Key.as_view()),
    path("tenants", tenants.Tenants.as_view()),
    path("tenants/<str:slug>", tenants.Tenant.as_view()),
    path("tenants/<str:slug>/pause", tenants.Pause.as_view()),
    path("tenants/<str:slug>/resume", tenants.Resume.as_view()),
    path("audit", audit.Audit.as_view()),
    path("schema", docs.schema),
    path("docs", docs.docs),
    path("<path:rest>", nowhere),
    path("", nowhere),
]
