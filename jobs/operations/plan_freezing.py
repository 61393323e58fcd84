"""Freezing: which tasks a plan is about, collected in the database chunk by chunk, and its effect in figures."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from django.db import transaction

from jobs.domain.plans import PlanAction, PlanState, looked_at, rules
from jobs.domain.states import State
from jobs.models import Plan
from jobs.store import catalog, postgres

CHUNK = 5_000
_FIRST = "00000000-0000-0000-0000-000000000000"

# The tasks of one state that a plan's filter names, as a condition on task t and task_info i; None: none can be.
Matching = Callable[[State], tuple[str, dict[str, Any]] | None]


def freeze(plan_id: int, matching: Matching, *, budget_s: float) -> bool:
    """Go on freezing for about `budget_s`; True when the set is complete and the plan is a preview."""
    until_s = time.monotonic() + budget_s
    while True:
        with transaction.atomic():
            if not _chunk(plan_id, matching):
                return True
        if time.monotonic() > until_s:
            return False


def _chunk(plan_id: int, matching: Matching) -> bool:
    """One chunk of one state, noted in the same transaction where it stands; False when there is no more."""
    plan = (
        Plan.objects.select_for_update(no_key=True)
        .filter(pk=plan_id, state=PlanState.FREEZING)
        .first()
    )
    if plan is None:
        return False
    states = looked_at(PlanAction(plan.action))
    state = State(plan.frozen_state) if plan.frozen_state else states[0]
    count, last = _collect(plan, state, matching(state))
    if count == CHUNK:
        plan.frozen_state, plan.frozen_id = state, last
    elif state is not states[-1]:
        plan.frozen_state, plan.frozen_id = states[states.index(state) + 1], None
    else:
        _sum_up(plan)
    plan.save()
    return plan.state == PlanState.FREEZING


def _collect(
    plan: Plan, state: State, condition: tuple[str, dict[str, Any]] | None
) -> tuple[int, Any]:
    if condition is None:
        return 0, None
    sql, params = condition
    found = rules(PlanAction(plan.action))
    rows = postgres.query(
        postgres.statement("plan_freeze").replace("/*where*/", sql),
        {
            **params,
            "plan": plan.pk,
            "last": plan.frozen_id if plan.frozen_state == state and plan.frozen_id else _FIRST,
            "made_at": plan.created_at,
            "limit": CHUNK,
            "states": [int(r.state) for r in found],
            "statuses": [int(r.status) for r in found],
            "skips": [r.skip for r in found],
            "signs": [r.sign for r in found],
        },
    )
    return rows[0][0], rows[0][1]


def _sum_up(plan: Plan) -> None:
    """The frozen set is complete: its effect in figures."""
    rows = postgres.query(
        "SELECT was, queue_id, reason, count(*), coalesce(sum(credits) FILTER (WHERE credits > 0), 0)::bigint,"
        " coalesce(-sum(credits) FILTER (WHERE credits < 0), 0)::bigint"
        " FROM plan_item WHERE plan_id = %s GROUP BY 1, 2, 3",
        [plan.pk],
    )
    states, queues, skipped = Counter[str](), Counter[str](), Counter[str]()
    known = catalog.queues()
    for was, queue_id, reason, count, refund, charge in rows:
        if reason:
            skipped[reason] += count
            continue
        states[State(was).wire] += count
        queues[known.name(queue_id)] += count
        plan.tasks += count
        plan.refund += refund
        plan.charge += charge
    plan.users = postgres.query(
        "SELECT count(DISTINCT user_id) FROM plan_item WHERE plan_id = %s AND state = 0", [plan.pk]
    )[0][0]
    plan.summary = {
        **plan.summary,
        "by_state": dict(states),
        "by_queue": dict(queues),
        "skipped": dict(skipped),
    }
    plan.state = PlanState.PREVIEW
    plan.frozen_id = plan.task_id = None
