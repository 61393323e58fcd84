"""Plans: a bulk action is previewed and frozen, confirmed, and then carried out in the background (plan_steps)."""

from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from jobs.domain.errors import Conflict, Forbidden, Invalid, NotFound
from jobs.domain.plans import WATCHED, PlanAction, PlanState, must_type
from jobs.models import Plan
from jobs.operations import keys, plan_freezing
from jobs.operations.plan_freezing import Matching
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit_request
from jobs.store import catalog, postgres

log = structlog.get_logger("plans")

STEP = "plan:step"
PREVIEW_BUDGET_S = 8.0
MOST_A_MINUTE = 100_000
MOST_CANARIES = 1_000
_PREVIEWS_KEPT_DAYS = 7
_KEPT_DAYS = 90
_PRUNE_BATCH = 5_000
_QUEUES = ("critical", "high", "default", "scheduled", "low")


def create(
    *,
    action: PlanAction,
    filter: dict[str, Any],
    matching: Matching,
    actor: str,
    tenant_id: int = 1,
    reason: str = "",
    rate: int | None = None,
    canary: int | None = None,
    stop_percent: int = 50,
    ended: dict[str, Any] | None = None,
) -> Plan:
    """Freeze the tasks that match and sum up the effect. What takes longer than some seconds goes on in the background.

    `rate`: tasks a minute; `canary`: so many first, then wait how they end; both stop when more than `stop_percent`
    fail again. `ended`: the summary's figure of ended tasks, which are not frozen. Raises Invalid.
    """
    _check(action, rate, canary, stop_percent)
    with transaction.atomic():
        plan = Plan.objects.create(
            tenant_id=tenant_id,
            action=action,
            filter=filter,
            reason=reason,
            rate=rate,
            canary=canary,
            stop_percent=stop_percent,
            state=PlanState.FREEZING,
            created_by=actor,
            summary={"ended": ended} if ended else {},
        )
        if not plan_freezing.freeze(plan.pk, matching, budget_s=PREVIEW_BUDGET_S):
            _start_step(plan.pk)
    plan.refresh_from_db()
    return plan


def execute(plan_id: int, *, actor: str, tenant_id: int = 1, count: int | None = None) -> None:
    """Carry the plan out as `actor`, after the undo window. `count`: the number of tasks, typed for a large plan.

    Raises NotFound, Conflict (no preview any more, nothing to do), Invalid (the count is missing or another),
    Forbidden (a second person is needed).
    """
    with transaction.atomic():
        plan = _lock(plan_id, tenant_id)
        expect(plan, PlanState.PREVIEW)
        if not plan.tasks:
            raise Conflict("The plan has nothing to do", plan=plan_id)
        if count != plan.tasks and (count is not None or _must_type(plan)):
            raise Invalid(
                "Confirm with the number of tasks in this plan: %(tasks)s",
                field="count",
                tasks=plan.tasks,
            )
        _expect_second_person(plan, actor)
        undo_s = float(settings.TASKCENTER["PLAN_UNDO_S"])
        postgres.query(
            "UPDATE plan SET state = 'running', state_reason = '', executed_by = %s,"
            " starts_at = clock_timestamp() + %s * interval '1 second' WHERE id = %s RETURNING 1",
            [actor, undo_s, plan_id],
        )
        _start_step(plan_id, after_s=undo_s)
    log.warning("plan executes", plan=plan_id, action=plan.action, tasks=plan.tasks)


def pause(plan_id: int, *, tenant_id: int = 1, reason: str = "") -> None:
    """Stop before the next task; exact at its commit. Raises NotFound, Conflict."""
    with transaction.atomic():
        plan = _lock(plan_id, tenant_id)
        expect(plan, PlanState.RUNNING)
        plan.state, plan.state_reason, plan.task_id = PlanState.PAUSED, reason, None
        plan.save(update_fields=["state", "state_reason", "task_id"])


def resume(plan_id: int, *, tenant_id: int = 1) -> None:
    """Go on; outcomes seen so far no longer stop it. Raises NotFound, Conflict."""
    with transaction.atomic():
        plan = _lock(plan_id, tenant_id)
        expect(plan, PlanState.PAUSED)
        plan.state, plan.state_reason = PlanState.RUNNING, ""
        plan.watch_from = plan.last_id
        plan.save(update_fields=["state", "state_reason", "watch_from"])
        _start_step(plan_id)


def abort(plan_id: int, *, tenant_id: int = 1, reason: str = "") -> None:
    """End the plan for good; what it has changed stays. In the undo window nothing has. Raises NotFound, Conflict."""
    with transaction.atomic():
        plan = _lock(plan_id, tenant_id)
        if plan.state in (PlanState.DONE, PlanState.ABORTED):
            raise Conflict("The plan is %(state)s", plan=plan_id, state=plan.state)
        plan.state, plan.state_reason, plan.task_id = PlanState.ABORTED, reason, None
        plan.finished_at = timezone.now()
        plan.save(update_fields=["state", "state_reason", "task_id", "finished_at"])
    log.warning("plan aborted", plan=plan_id, done=plan.done)


def tend() -> None:
    """A duty: plans whose step is gone, or waits in a paused queue, get a new one; old plans are removed."""
    rows = postgres.query(
        "SELECT p.id, t.queue_id, t.state FROM plan p LEFT JOIN task t ON t.id = p.task_id"
        " LEFT JOIN queue q ON q.id = t.queue_id WHERE p.state IN ('running', 'freezing')"
        " AND (t.id IS NULL OR t.state IN (5, 6) OR (t.state = 1 AND (q.paused OR q.tenant_paused)))"
    )
    for plan_id, queue_id, state in rows:
        if state == 1 and catalog.queues().name(queue_id) == _queue():
            continue
        with transaction.atomic():
            plan = Plan.objects.select_for_update(no_key=True).filter(pk=plan_id).first()
            if plan is not None and plan.state in (PlanState.RUNNING, PlanState.FREEZING):
                _start_step(plan_id)
                log.warning("plan got a new step", plan=plan_id)
    _prune()


def _check(action: PlanAction, rate: int | None, canary: int | None, stop_percent: int) -> None:
    for name, value, most in (
        ("rate", rate, MOST_A_MINUTE),
        ("canary", canary, MOST_CANARIES),
        ("stop_percent", stop_percent, 100),
    ):
        if value is not None and not 1 <= value <= most:
            raise Invalid(
                "`%(field)s` must be between 1 and %(most)s", most=most, field=name, given=value
            )
    if canary is not None and action not in WATCHED:
        raise Invalid("Only retry and redrive have a canary", field="canary")


def _expect_second_person(plan: Plan, actor: str) -> None:
    limit = int(settings.TASKCENTER["FOUR_EYES_CREDITS"])
    if not limit or max(plan.refund, plan.charge) <= limit:
        return
    if keys.hand(actor) == keys.hand(plan.created_by):
        raise Forbidden(
            "A plan that moves so many credits is executed by somebody else than who made it, nor by a key of theirs",
            limit=limit,
        )


def _must_type(plan: Plan) -> bool:
    most = settings.TASKCENTER
    return must_type(
        plan.tasks,
        max(plan.refund, plan.charge),
        most_tasks=most["PLAN_TYPED_TASKS"],
        most_credits=most["PLAN_TYPED_CREDITS"],
    )


def _start_step(plan_id: int, *, after_s: float = 0.0) -> None:
    """A new step's task; the plan knows it, any older one stands back."""
    request = TaskRequest(
        type=STEP, payload={"plan_id": plan_id}, queue=_queue(), process_in=after_s
    )
    made = submit_request(request, limited=False)
    postgres.query("UPDATE plan SET task_id = %s WHERE id = %s RETURNING 1", [made.id, plan_id])


def _queue() -> str:
    """The first queue that is not paused: emptying a paused queue must not wait for that queue."""
    known = catalog.queues(fresh=True).by_name
    usable = [name for name in _QUEUES if name in known]
    return next((name for name in usable if not known[name].paused), usable[0])


def _lock(plan_id: int, tenant_id: int) -> Plan:
    plan = (
        Plan.objects.select_for_update(no_key=True).filter(pk=plan_id, tenant_id=tenant_id).first()
    )
    if plan is None:
        raise NotFound("There is no such plan", plan=plan_id)
    return plan


def expect(plan: Plan, state: PlanState) -> None:
    """Raises Conflict when the plan, as it was read, is in another state."""
    if plan.state != state:
        raise Conflict(
            "The plan is %(state)s, not %(wanted)s",
            plan=plan.pk,
            state=plan.state,
            wanted=str(state),
        )


def _prune() -> None:
    """Items first, in batches, then plans that have none left."""
    old = (
        "SELECT id FROM plan WHERE (finished_at < now() - %(kept)s * interval '1 day')"
        " OR (state IN ('preview', 'freezing') AND created_at < now() - %(unused)s * interval '1 day')"
    )
    params = {"kept": _KEPT_DAYS, "unused": _PREVIEWS_KEPT_DAYS, "limit": _PRUNE_BATCH}
    gone = postgres.query(
        "DELETE FROM plan_item WHERE (plan_id, task_id) IN (SELECT i.plan_id, i.task_id FROM plan_item i"
        f" WHERE i.plan_id IN ({old}) LIMIT %(limit)s) RETURNING 1",
        params,
    )
    if not gone:
        postgres.query(
            f"DELETE FROM plan p WHERE p.id IN ({old})"
            " AND NOT EXISTS (SELECT 1 FROM plan_item i WHERE i.plan_id = p.id) RETURNING 1",
            params,
        )
