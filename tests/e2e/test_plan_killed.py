"""A plan whose worker is killed in the middle resumes, and does each task once."""

import os
import signal

import pytest

from jobs.builtin import plans as builtin
from jobs.domain.plans import PlanAction
from jobs.operations import credits, plans
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit_many
from jobs.selectors.plans import PlanFilter
from jobs.store import postgres
from tests.e2e.worker_support import fresh_views, worker
from tests.support.engine import balance
from tests.support.processes import Processes
from tests.support.wait import eventually

__all__ = ["fresh_views"]

N = 2_000


def _progress(plan_id: int) -> tuple[str, int, int]:
    state, done, other = postgres.query(
        "SELECT state, done, skipped + failed FROM plan WHERE id = %s", [plan_id]
    )[0]
    return state, done, other


@pytest.mark.req("A-05", "P-03")
@pytest.mark.usefixtures("transactional_db")
def test_a_plan_survives_kill_9_of_its_worker_and_does_each_task_once(
    processes: Processes, settings: object
) -> None:
    settings.TASKCENTER = {**settings.TASKCENTER, "PLAN_UNDO_S": 0.0}  # type: ignore[attr-defined]
    credits.grant(user_id=1, amount=N, reason="test", actor="test")
    for _ in range(N // 500):
        made = [
            TaskRequest(type="debug:noop", queue="low", process_in=3600, user_id=1, credits=1)
        ] * 500
        submit_many(made)
    plan = builtin.draft(PlanAction.CANCEL, PlanFilter(queue="low"), actor="user:op")
    assert (plan.tasks, plan.refund) == (N, N)
    added = submit_many([TaskRequest(type="debug:noop", queue="low", process_in=3600)] * 3)
    plans.execute(plan.pk, actor="user:op", count=N)

    first = worker(processes)
    eventually(lambda: _progress(plan.pk)[1] > N // 4, 60)
    os.kill(first.pid, signal.SIGKILL)
    state, done, _ = _progress(plan.pk)
    assert state == "running"
    assert done < N
    worker(processes)
    eventually(lambda: _progress(plan.pk)[0] == "done", 90)

    assert _progress(plan.pk) == ("done", N, 0)
    assert balance(1) == N
    per_task = "SELECT count(*), count(DISTINCT task_id) FROM {} WHERE {}"
    refunds = postgres.query(per_task.format("credit_entry", "kind = 3"))
    cancels = postgres.query(per_task.format("event", "kind = 'cancel'"))
    assert refunds == cancels == [(N, N)]
    untouched = [str(task.id) for task in added]  # type: ignore[union-attr]
    states = postgres.query(
        "SELECT DISTINCT state FROM task WHERE id = ANY(%s::uuid[])", [untouched]
    )
    assert states == [(3,)]
