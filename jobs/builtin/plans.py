"""Plans: drafting one from a filter, and `plan:step`, by which the engine itself carries them out."""

from typing import Any

import msgspec

from jobs.domain import ids
from jobs.domain.outcomes import Poll
from jobs.domain.plans import PlanAction, looked_at
from jobs.domain.states import State, Status
from jobs.handlers import Context, task
from jobs.lifecycle.policy import RetryPolicy
from jobs.models import Plan
from jobs.operations import plan_freezing, plan_steps, plans
from jobs.selectors.plans import PlanFilter, ended, filter_of, matching, stored

FREEZE_S = 20.0
_KEPT_S = 3_600


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    plan_id: int


def draft(
    action: PlanAction, wanted: PlanFilter, *, actor: str, tenant_id: int = 1, **options: Any
) -> Plan:
    """Preview and freeze a plan; `options` are those of operations.plans.create. Raises Invalid (empty filter)."""
    condition = matching(wanted, tenant_id)
    left_out = None if State.COMPLETED in looked_at(action) else ended(wanted, tenant_id)
    return plans.create(
        action=action,
        filter=stored(wanted),
        matching=condition,
        actor=actor,
        tenant_id=tenant_id,
        ended=left_out,
        **options,
    )


@task(
    plans.STEP,
    queue="critical",
    policy=RetryPolicy(max_retries=20, cap_s=30.0),
    timeout_s=300.0,
    retention_s=_KEPT_S,
    internal=True,
)
def step(payload: Step, context: Context) -> dict[str, int] | None:
    """A bounded piece of a plan, again and again until it has ended or somebody stops it; safe to run twice."""
    task_id = ids.parse_id(context.task_id)
    plan = Plan.objects.filter(pk=payload.plan_id, task_id=task_id).first()
    if plan is None:
        return None
    if plan.state == "freezing":
        condition = matching(filter_of(plan.filter), plan.tenant_id)
        if not plan_freezing.freeze(plan.pk, condition, budget_s=FREEZE_S):
            raise Poll(Status.IN_PROGRESS, after_s=0.0, progress=0)
        return None
    stand = plan_steps.step(plan.pk, task_id, stop=lambda: context.cancelled)
    if stand.again_s is not None:
        raise Poll(Status.IN_PROGRESS, after_s=stand.again_s, progress=min(stand.percent, 99))
    plan.refresh_from_db()
    return {"done": plan.done, "skipped": plan.skipped, "failed": plan.failed}
