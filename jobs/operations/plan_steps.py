"""A plan's steps: a bounded number of its tasks, each in a transaction of its own with what is written down of it."""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import structlog
from django.db import OperationalError, transaction

from jobs.domain.errors import TaskCenterError, Unavailable
from jobs.domain.plans import WATCHED, ItemState, PlanAction, PlanState, rules, still
from jobs.domain.states import State, Status
from jobs.models import Plan
from jobs.operations import actions, audits
from jobs.store import postgres

log = structlog.get_logger("plans")

CHUNK = 200
_TRIES = 5
_BUSY = {"40P01", "40001", "55P03"}
_BURST_S = 1.0
_WATCH_S = 2.0
_WATCHED = 100
_ENOUGH = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Stand:
    """Where a plan stands after a step: `again_s` seconds until the next one, None when there is none."""

    again_s: float | None
    percent: int = 100


@dataclass(frozen=True, slots=True)
class _End:
    """What became of one item."""

    state: ItemState
    reason: str = ""
    error: str | None = None
    refunded: int = 0
    retried: int = 0


def step(plan_id: int, task_id: UUID, *, stop: Callable[[], bool], limit: int = CHUNK) -> Stand:
    """Do the next items of a running plan. Another step than the one that the plan knows does nothing.

    `stop()` ends the step early. Each item is done once, however often and wherever steps run.
    """
    plan = Plan.objects.filter(pk=plan_id, task_id=task_id, state=PlanState.RUNNING).first()
    if plan is None:
        return Stand(again_s=None)
    early_s = _seconds_until("starts_at", plan_id)
    if early_s > 0:
        return Stand(again_s=early_s, percent=0)
    limit = _watched(plan, limit)
    if limit == 0:
        stopped = Plan.objects.filter(pk=plan_id, state=PlanState.PAUSED).exists()
        return Stand(again_s=None if stopped else _WATCH_S, percent=_percent(plan))
    again_s = _chunk(plan, stop, limit)
    plan.refresh_from_db()
    return Stand(again_s=again_s, percent=_percent(plan))


def _chunk(plan: Plan, stop: Callable[[], bool], limit: int) -> float | None:
    """Item by item until the limit, the pace, a stop, or somebody's pause; seconds until the next step."""
    items = postgres.query(
        "SELECT task_id FROM plan_item WHERE plan_id = %s AND state = 0 ORDER BY task_id LIMIT %s",
        [plan.pk, limit],
    )
    if not items:
        _finish(plan)
        return None
    most = plan.canary if plan.done < (plan.canary or 0) else None
    for (task_id,) in items:
        if stop():
            break
        again_s = _one(plan, task_id, most)
        if again_s != 0.0:
            return again_s
    return 0.0


def _one(plan: Plan, task_id: UUID, most: int | None) -> float | None:
    """One item. Returns 0 to go on, seconds to wait for the pace, None when the plan is no longer this step's.

    `most`: not beyond so many done, whoever did them.
    """
    try:
        with transaction.atomic():
            wait_s = _may_go_on(plan, most)
            if wait_s is None or wait_s > 0:
                return wait_s
            item = postgres.query(
                "SELECT was, credits FROM plan_item WHERE plan_id = %s AND task_id = %s AND state = 0"
                " FOR NO KEY UPDATE",
                [plan.pk, task_id],
            )
            if item:
                _write_down(plan, task_id, _tried(plan, task_id, State(item[0][0]), item[0][1]))
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) not in _BUSY:
            raise
        _busy(plan, task_id)
    return 0.0


def _may_go_on(plan: Plan, most: int | None) -> float | None:
    """Lock the plan's row: a pause or abort waits for this item, and this item for them."""
    rows = postgres.query(
        "SELECT coalesce(extract(epoch FROM next_at - clock_timestamp()), 0)::float8, done FROM plan"
        " WHERE id = %s AND state = 'running' AND task_id = %s FOR NO KEY UPDATE",
        [plan.pk, plan.task_id],
    )
    if not rows:
        return None
    if most is not None and rows[0][1] >= most:
        return _WATCH_S
    tolerance_s = max(0.0, _BURST_S - 60.0 / plan.rate) if plan.rate else 0.0
    wait_s = float(rows[0][0])
    return wait_s if wait_s > tolerance_s else 0.0


def _tried(plan: Plan, task_id: UUID, was: State, credits: int) -> _End:
    """The action in a savepoint: what it refuses is the item's end, and nothing of it stays."""
    try:
        with transaction.atomic():
            return _act(plan, task_id, was, credits)
    except (OperationalError, Unavailable):
        raise
    except TaskCenterError as error:
        return _End(ItemState.FAILED, error.code, str(error)[:1000])
    except Exception as error:
        log.exception("plan item failed", plan=plan.pk, task_id=str(task_id))
        return _End(ItemState.FAILED, "error", f"{type(error).__name__}: {error}"[:1000])


def _act(plan: Plan, task_id: UUID, was: State, credits: int) -> _End:
    """Do it when it is still what the preview showed, under the task's lock."""
    rows = postgres.query(
        "SELECT state, status, credits, retried, coalesce((SELECT e.amount FROM credit_entry e"
        "  WHERE e.task_id = t.id AND e.cycle = t.cycle AND e.kind = 3), 0)"
        " FROM task t WHERE id = %s AND tenant_id = %s FOR NO KEY UPDATE OF t",
        [task_id, plan.tenant_id],
    )
    if not rows:
        return _End(ItemState.SKIPPED, "deleted")
    now, status = State(rows[0][0]), Status(rows[0][1])
    action = PlanAction(plan.action)
    rule = next(r for r in rules(action) if r.state is now and r.status is status)
    if not still(was, now, action):
        return _End(ItemState.SKIPPED, "changed", f"{was.wire} in the preview, now {now.wire}")
    if rule.skip:
        return _End(ItemState.SKIPPED, rule.skip)
    effect = rows[0][2] if rule.sign > 0 else rule.sign * rows[0][4]
    effect = effect if rule.sign else 0
    if effect != credits:
        return _End(ItemState.SKIPPED, "changed", f"{credits} credits in the preview, now {effect}")
    return _perform(plan, action, task_id, now, max(effect, 0), retried=rows[0][3])


def _perform(
    plan: Plan, action: PlanAction, task_id: UUID, now: State, refund: int, *, retried: int
) -> _End:
    who, tenant_id = f"{plan.executed_by} plan:{plan.pk}", plan.tenant_id
    match action:
        case PlanAction.CANCEL:
            reason = plan.reason or actions.DEFAULT_BATCH_CANCEL_REASON
            done = actions.cancel(task_id, reason=reason, actor=who, tenant_id=tenant_id)
            if done.requested:
                return _End(ItemState.DONE, "cancel_requested")
        case PlanAction.ARCHIVE:
            actions.archive(task_id, actor=who, tenant_id=tenant_id)
        case PlanAction.DELETE:
            actions.delete(task_id, actor=who, tenant_id=tenant_id)
        case _:
            slowly = plan.rate is not None and now is State.ARCHIVED
            actions.run_now(task_id, actor=who, tenant_id=tenant_id, slowly=slowly)
            retried = 0 if now is State.ARCHIVED else retried
    return _End(ItemState.DONE, refunded=refund, retried=retried)


def _write_down(plan: Plan, task_id: UUID, end: _End) -> None:
    postgres.fetch(
        "plan_item_end",
        {
            "plan": plan.pk,
            "task": task_id,
            "state": int(end.state),
            "reason": end.reason,
            "error": end.error,
            "retried": end.retried,
            "refunded": end.refunded,
        },
    )


def _busy(plan: Plan, task_id: UUID) -> None:
    """Somebody else holds the task: later again, a few times."""
    with transaction.atomic():
        tries = postgres.query(
            "UPDATE plan_item SET tries = tries + 1 WHERE plan_id = %s AND task_id = %s AND state = 0 RETURNING tries",
            [plan.pk, task_id],
        )
        if tries and tries[0][0] >= _TRIES:
            _write_down(plan, task_id, _End(ItemState.FAILED, "locked", "locked by somebody else"))


def _watched(plan: Plan, limit: int) -> int:
    """How many items may be done now: fewer, or none, while the canary's outcome is awaited or when too many fail."""
    if PlanAction(plan.action) not in WATCHED or (plan.canary is None and plan.rate is None):
        return limit
    canary = plan.canary or 0
    looked = max(_WATCHED, canary)
    params = {"plan": plan.pk, "from": plan.watch_from, "to": plan.last_id, "limit": looked}
    seen, good, bad = postgres.fetch("plan_outcomes", params)[0]
    of = canary if plan.done <= canary else max(good + bad, _ENOUGH)
    if bad and bad * 100 > plan.stop_percent * of:
        _stop(plan, f"{bad} of {seen} failed again")
        return 0
    if plan.done < canary:
        return min(limit, canary - plan.done)
    if plan.done == canary and good + bad < seen:
        return 0
    return limit


def _stop(plan: Plan, why: str) -> None:
    """Too many fail again: the plan pauses itself, and a person decides."""
    with transaction.atomic():
        stopped = Plan.objects.filter(
            pk=plan.pk, state=PlanState.RUNNING, task_id=plan.task_id
        ).update(state=PlanState.PAUSED, state_reason=why, task_id=None)
        if stopped:
            audits.record(actor="system", action="plan.stop", target=f"plan:{plan.pk}", reason=why)
    log.warning("plan stopped", plan=plan.pk, why=why)


def _finish(plan: Plan) -> None:
    postgres.query(
        "UPDATE plan SET state = 'done', finished_at = clock_timestamp() WHERE id = %s AND state = 'running'"
        " AND task_id = %s RETURNING 1",
        [plan.pk, plan.task_id],
    )
    log.info("plan done", plan=plan.pk, done=plan.done, skipped=plan.skipped, failed=plan.failed)


def _seconds_until(column: str, plan_id: int) -> float:
    rows = postgres.query(
        f"SELECT coalesce(extract(epoch FROM {column} - clock_timestamp()), 0)::float8 FROM plan WHERE id = %s",
        [plan_id],
    )
    return float(rows[0][0])


def _percent(plan: Plan) -> int:
    ended = plan.done + plan.skipped + plan.failed
    return 100 * ended // plan.tasks if plan.tasks else 100
