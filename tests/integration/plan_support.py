"""Plans driven by hand: drafted by the operation, carried out by the built-in handler's own function."""

from typing import Any
from uuid import UUID

from jobs.builtin import plans as builtin
from jobs.domain.outcomes import Poll
from jobs.domain.plans import PlanAction
from jobs.handlers import Context
from jobs.models import Plan, PlanItem
from jobs.operations import plans
from jobs.operations.tasks import Submitted, submit
from jobs.selectors.plans import PlanFilter
from jobs.store import catalog, postgres
from tests.support.engine import Hand, dead

WAITING, DONE, SKIPPED, FAILED = 0, 1, 2, 3


def draft(action: str, wanted: dict[str, Any], **options: Any) -> Plan:
    return builtin.draft(PlanAction(action), PlanFilter(**wanted), actor="user:op", **options)


def execute(plan: Plan, count: int | None = None) -> None:
    """Confirm the plan; its undo window is over at once."""
    plans.execute(plan.pk, actor="user:op", count=count)
    postgres.query(
        "UPDATE plan SET starts_at = clock_timestamp() - interval '1 second' WHERE id = %s RETURNING 1",
        [plan.pk],
    )


def one_step(plan: Plan) -> float | None:
    """One run of the plan's step; seconds until the next one, None when it was the last."""
    plan.refresh_from_db()
    context = Context(
        task_id=str(plan.task_id), type="plan:step", queue="critical", attempt=1, retried=0
    )
    try:
        builtin.step(builtin.Step(plan_id=plan.pk), context)
    except Poll as poll:
        return poll.after_s
    finally:
        plan.refresh_from_db()
    return None


def run(plan: Plan, most: int = 50) -> Plan:
    """Steps until the plan has no further one."""
    for _ in range(most):
        if one_step(plan) is None:
            return plan
    raise AssertionError(f"plan {plan.pk} is still {plan.state} after {most} steps")


def ends(plan: Plan) -> dict[UUID, tuple[int, str]]:
    """(state, reason) of each item."""
    rows = PlanItem.objects.filter(plan_id=plan.pk).values_list("task_id", "state", "reason")
    return {task_id: (state, reason) for task_id, state, reason in rows}


def many(n: int, **options: Any) -> list[Submitted]:
    return [submit("debug:noop", **options) for _ in range(n)]


def queue_name(task: Submitted) -> str:
    rows = postgres.query("SELECT queue_id FROM task WHERE id = %s", [task.id])
    return catalog.queues(fresh=True).name(rows[0][0])


def dead_letters(n: int, **options: Any) -> list[Any]:
    made = many(n, **options)
    hand = Hand()
    hand.settle(hand.claim(), dead)
    return made
