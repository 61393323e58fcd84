"""What was found by attacking the statements: they read by their index, and what is old hides nothing."""

from typing import Any

import pytest
from django.db import connection, transaction

from jobs.domain.states import State
from jobs.operations import duties, emptying, workers
from jobs.operations.tasks import submit
from jobs.store import postgres
from tests.support.engine import Hand

pytestmark = pytest.mark.usefixtures("engine")


def plan(sql: str, params: dict[str, Any] | list[Any]) -> str:
    """How the planner would do it if it had to avoid walking tables."""
    with transaction.atomic(), connection.cursor() as cursor:
        for name in ("enable_seqscan", "enable_bitmapscan", "enable_sort"):
            cursor.execute(f"SET LOCAL {name} = off")
        cursor.execute("EXPLAIN " + sql, params)
        return "\n".join(line for (line,) in cursor.fetchall())


@pytest.mark.req("Q-08")
@pytest.mark.parametrize(
    ("state", "index"),
    [(1, "task_pending"), (3, "task_held"), (4, "task_held"), (5, "task_archived")],
)
def test_emptying_reads_each_state_by_its_own_index(state: int, index: str) -> None:
    order = emptying._IN_ORDER[State(state)]
    found = plan(f"SELECT id FROM task WHERE queue_id = %s AND {order} LIMIT 200", [1])
    assert f"using {index} " in found
    assert "Sort" not in found


@pytest.mark.req("P-01")
@pytest.mark.parametrize(
    ("statement", "params", "index"),
    [
        ("task_overdue", {}, "task_deadline"),
        ("worker_bury", {"lease_s": 9}, "worker_living"),
        ("worker_prune", {"kept_s": 9, "limit": 9}, "worker_dead"),
        (
            "idempotency_prune",
            {"kept_s": 9, "limit": 9, "after": duties.EPOCH_ZERO, "after_key": ""},
            "idempotency_age",
        ),
    ],
)
def test_sweeps_read_by_index(statement: str, params: dict[str, Any], index: str) -> None:
    found = plan(postgres.statement(statement), params)
    assert f"using {index} " in found


@pytest.mark.req("P-01")
def test_old_locks_are_found_by_their_time() -> None:
    sql = "SELECT key FROM unique_lock WHERE until < (SELECT now()) ORDER BY until LIMIT 500"
    assert "using lock_until " in plan(sql, [])


@pytest.mark.req("S-06")
def test_old_keys_of_living_tasks_do_not_hide_those_that_can_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(duties, "PRUNE_BATCH", 5)
    monkeypatch.setattr(duties, "_IDEMPOTENCY_BATCHES", 2)
    living = submit("debug:noop")
    postgres.query(
        "INSERT INTO idempotency (key, body_hash, task_id, created_at)"
        " SELECT 'old' || n, '', CASE WHEN n < 23 THEN %s::uuid END, now() - interval '4 days'"
        " FROM generate_series(10, 25) n RETURNING 1",
        [living.id],
    )
    left = "SELECT count(*) FROM idempotency"
    duties.prune()  # looks at ten
    assert postgres.query(left) == [(16,)]
    duties.prune()
    assert postgres.query(left) == [(13,)]
    assert duties._looked_to == (duties.EPOCH_ZERO, "")


@pytest.mark.req("P-01")
def test_workers_dead_for_a_day_are_forgotten_unless_something_still_runs_under_them() -> None:
    submit("debug:noop")
    busy, idle, fresh = Hand("busy"), Hand("idle"), Hand("fresh")
    assert len(busy.claim()) == 1
    postgres.query(
        "UPDATE worker SET dead_at = now() - interval '25 hours' WHERE id IN (%s, %s) RETURNING 1",
        [busy.id, idle.id],
    )
    workers.retire(fresh.id)
    duties.prune()
    assert postgres.query("SELECT name FROM worker ORDER BY id") == [("busy",), ("fresh",)]
