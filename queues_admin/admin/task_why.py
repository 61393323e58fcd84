"""The facts behind "Why isn't it running?"; the reasoning itself is pure and lives in jobs.lifecycle.why."""

import time
from datetime import UTC, datetime
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext as _

from jobs.contract.reader import contract
from jobs.domain.errors import UnknownType
from jobs.domain.states import State, Status, state_from_wire, status_from_wire
from jobs.handlers.registry import handler
from jobs.lifecycle.why import (
    HoldingBreaker,
    Predecessor,
    Reason,
    WhyFacts,
    why_not_running,
)
from jobs.models import Platform, PlatformTask, Queue, TaskWait, Tenant
from jobs.selectors import breakers, health, limits, workers
from jobs.selectors.breakers import BreakerView
from jobs.selectors.task_view import TaskView
from jobs.store import postgres
from queues_admin.admin.numbers import control
from queues_admin.admin.words import word

_COUNTED = 10_000


def reasons(task_id: UUID, view: TaskView) -> list[str]:
    """Sentences, hardest first, in the reader's language."""
    return [
        _(reason.message) % _params(reason) for reason in why_not_running(_facts(task_id, view))
    ]


def _params(reason: Reason) -> dict[str, object]:
    return {k: _shown(k, v) for k, v in reason.params.items()}


def _shown(name: str, value: object) -> object:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return word(str(value)) if name == "status" else value


def _facts(task_id: UUID, view: TaskView) -> WhyFacts:
    state, status = state_from_wire(view.state), status_from_wire(view.status)
    if state in (State.ACTIVE, State.COMPLETED, State.ARCHIVED):
        return WhyFacts(
            state=state, status=status, queue=view.queue, type=view.type, now_s=time.time()
        )
    return _waiting(task_id, view, state, status)


def _waiting(task_id: UUID, view: TaskView, state: State, status: Status) -> WhyFacts:
    queue = Queue.objects.filter(name=view.queue).first()
    limit = limits.standing(task_id) if state is State.AGGREGATING else None
    limit = limit if limit is not None and limit.waits else None
    return WhyFacts(
        state=state,
        status=status,
        queue=view.queue,
        type=view.type,
        now_s=time.time(),
        stopped=control().stopped,
        consumption_off=not (settings.ASYNQ_POLLING_ENABLED or settings.UPDATE_TASK),
        paused=queue is not None and (queue.paused or queue.tenant_paused),
        paused_reason=_paused_reason(queue) if queue is not None else "",
        run_at_s=view.next_process_at.timestamp() if view.next_process_at else None,
        deadline_s=view.deadline.timestamp() if view.deadline else None,
        breakers=_breakers(view.platform),
        parked=_parked(task_id),
        ambiguous=status is Status.UNKNOWN and _unanswered(task_id),
        live_workers=_serving(view.queue),
        handler_known=_known(view.type),
        platform_disabled=_disabled(view.platform),
        waits_for=_waits_for(task_id, view),
        after=_after(view),
        redis_connected=not settings.ASYNQ_POLLING_ENABLED or health.redis_connected(),
        ahead=_ahead(task_id) if state is State.PENDING else None,
        limit_key=limit.key if limit else None,
        limit_running=limit.running if limit else None,
        limit_most=limit.most if limit else None,
        limit_rate=limit.rate if limit else None,
    )


def _waits_for(task_id: UUID, view: TaskView) -> int | None:
    """Shards or predecessors that are not done."""
    if view.shards:
        return view.shards.total - view.shards.done - view.shards.failed
    if not view.after:
        return None
    return TaskWait.objects.filter(pk=task_id).values_list("remaining", flat=True).first()


def _after(view: TaskView) -> tuple[Predecessor, ...]:
    return tuple(
        Predecessor(
            task_id=task.task_id,
            state=state_from_wire(task.state),
            status=status_from_wire(task.status),
        )
        for task in view.after or ()
    )


def _paused_reason(queue: Queue) -> str:
    if not queue.tenant_paused:
        return queue.paused_reason
    with_tenant = _("paused with its tenant")
    told = Tenant.objects.filter(pk=queue.tenant_id).values_list("paused_reason", flat=True).first()
    return f"{with_tenant}: {told}" if told else with_tenant


def _serving(queue: str) -> int:
    """Living workers that take from the queue; one that names no queues takes from all."""
    return sum(
        1
        for worker in workers.listing().items
        if worker.state == "running" and (not worker.queues or queue in worker.queues)
    )


def _known(type_: str) -> bool:
    try:
        handler(type_)
    except UnknownType:
        return False
    return True


def _disabled(platform: str | None) -> str | None:
    off = platform is not None and Platform.objects.filter(name=platform, enabled=False).exists()
    return platform if off else None


def _parked(task_id: UUID) -> bool:
    most = contract().polling.contact_error_limit
    return PlatformTask.objects.filter(pk=task_id, contact_errors__gte=most).exists()


def _unanswered(task_id: UUID) -> bool:
    """Whether a submit left and nobody knows its id; parked as UNKNOWN, it is not looked for either."""
    left = PlatformTask.objects.filter(pk=task_id, submit_started_at__isnull=False)
    return left.filter(external_id=None).exists()


def _breakers(platform: str | None) -> tuple[HoldingBreaker, ...]:
    """Those of the two, the platform's and its service's, that do not let everything through."""
    if platform is None:
        return ()
    return tuple(_holding(b) for b in breakers.of_platform(platform) if b.holds)


def _holding(b: BreakerView) -> HoldingBreaker:
    return HoldingBreaker(
        name=b.name,
        state=b.state,
        since=b.forced_at or b.opened_at,
        wait_s=b.wait_s,
        forced=b.forced is not None,
        until=b.forced_until,
        by=b.forced_by,
        reason=b.forced_reason,
    )


def _ahead(task_id: UUID) -> int:
    """Pending tasks of its queue before it, counted up to a bound."""
    rows = postgres.query(
        "SELECT count(*) FROM (SELECT 1 FROM task o, task t WHERE t.id = %s AND o.state = 1"
        " AND o.queue_id = t.queue_id AND o.ord < t.ord LIMIT %s) x",
        [task_id, _COUNTED],
    )
    return int(rows[0][0])
