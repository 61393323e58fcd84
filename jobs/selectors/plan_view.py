"""A plan, and one of its items, as the API and the admin show them."""

from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings

from jobs.domain import ids
from jobs.domain.plans import ItemState, must_type
from jobs.domain.states import State
from jobs.models import Plan
from jobs.store import catalog, postgres

SECONDS_EACH = 0.01


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """`reason`: the state that does not allow it, or `dead_letter`, `plan`; `estimated`: too many to count."""

    reason: str
    tasks: int
    estimated: bool = False


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """`typed_count`: executing needs the number of tasks; `estimated_s`: how long carrying it out may take."""

    tasks: int
    users: int
    refunded_credits: int
    charged_credits: int
    by_state: dict[str, int]
    by_queue: dict[str, int]
    skipped: list[Skipped]
    estimated_s: float
    typed_count: bool


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    done: int
    skipped: int
    failed: int
    waiting: int
    percent: int
    refunded_credits: int


class PlanLinks(msgspec.Struct, frozen=True, kw_only=True, rename={"this": "self"}):
    this: str
    items: str


class PlanView(msgspec.Struct, frozen=True, kw_only=True):
    """`task_id`: the task of its present step; `starts_at`: the end of the undo window."""

    id: int
    action: str
    filter: dict[str, Any]
    reason: str
    rate: int | None
    canary: int | None
    stop_percent: int
    state: str
    state_reason: str
    preview: Preview
    progress: Progress
    created_by: str
    created_at: datetime
    executed_by: str
    starts_at: datetime | None
    finished_at: datetime | None
    task_id: str | None
    links: PlanLinks


class PlanItemView(msgspec.Struct, frozen=True, kw_only=True):
    """`was`, `queue`, `credits` as the preview had them (negative: charged again); `reason` is a code."""

    task_id: str
    was: str
    queue: str
    user_id: int | None
    credits: int
    state: str
    reason: str
    error: str | None
    at: datetime | None


def view(plan: Plan) -> PlanView:
    ended_items = plan.done + plan.skipped + plan.failed
    return PlanView(
        id=plan.pk,
        action=plan.action,
        filter=plan.filter,
        reason=plan.reason,
        rate=plan.rate,
        canary=plan.canary,
        stop_percent=plan.stop_percent,
        state=plan.state,
        state_reason=plan.state_reason,
        preview=_preview(plan),
        progress=Progress(
            done=plan.done,
            skipped=plan.skipped,
            failed=plan.failed,
            waiting=plan.tasks - ended_items,
            percent=100 * ended_items // plan.tasks if plan.tasks else 0,
            refunded_credits=plan.refunded,
        ),
        created_by=plan.created_by,
        created_at=plan.created_at,
        executed_by=plan.executed_by,
        starts_at=plan.starts_at,
        finished_at=plan.finished_at,
        task_id=ids.public_id(plan.task_id) if plan.task_id and plan.finished_at is None else None,
        links=PlanLinks(this=f"/api/v1/plans/{plan.pk}", items=f"/api/v1/plans/{plan.pk}/items"),
    )


def _preview(plan: Plan) -> Preview:
    summary: dict[str, Any] = plan.summary
    skipped = [Skipped(reason=r, tasks=n) for r, n in sorted(summary.get("skipped", {}).items())]
    over = summary.get("ended")
    if over:
        skipped.append(
            Skipped(reason="completed", tasks=over["tasks"], estimated=over["estimated"])
        )
    each_s = max(SECONDS_EACH, 60.0 / plan.rate if plan.rate else 0.0)
    return Preview(
        tasks=plan.tasks,
        users=plan.users,
        refunded_credits=plan.refund,
        charged_credits=plan.charge,
        by_state=summary.get("by_state", {}),
        by_queue=summary.get("by_queue", {}),
        skipped=skipped,
        estimated_s=round(plan.tasks * each_s, 1),
        typed_count=must_type(
            plan.tasks,
            max(plan.refund, plan.charge),
            most_tasks=settings.TASKCENTER["PLAN_TYPED_TASKS"],
            most_credits=settings.TASKCENTER["PLAN_TYPED_CREDITS"],
        ),
    )


def of_item(row: postgres.Row) -> PlanItemView:
    """One row of the report's query."""
    task_id, was, queue_id, user_id, credits, state, reason, error, at, custom_id = row
    return PlanItemView(
        task_id=custom_id or ids.public_id(task_id),
        was=State(was).wire,
        queue=catalog.queues().name(queue_id),
        user_id=user_id,
        credits=credits,
        state=ItemState(state).wire,
        reason=reason,
        error=error,
        at=at,
    )
