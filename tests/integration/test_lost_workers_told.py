"""What a task's timeline says of workers that died under it, and what the audit log says of a retry."""

import pytest

from jobs.models import AuditEntry
from jobs.operations import actions, workers
from jobs.operations.tasks import submit
from jobs.selectors import task_history
from jobs.store import postgres
from tests.support import api
from tests.support.api import data
from tests.support.cli import run_json
from tests.support.engine import Hand, row

pytestmark = pytest.mark.usefixtures("engine")


def dies(hand: Hand) -> None:
    """As if by kill -9: its lease runs out, and its tasks are rescued."""
    postgres.query(
        "UPDATE worker SET beat_at = now() - interval '1 minute' WHERE id = %s RETURNING 1",
        [hand.id],
    )
    workers.bury_silent(9)
    workers.rescue()


@pytest.mark.req("X-09", "V-03")
def test_a_task_whose_worker_was_killed_says_so_in_its_timeline() -> None:
    made, hand = submit("debug:noop"), Hand("doomed")
    hand.claim()
    dies(hand)
    told = [e for e in task_history.events(made.id).items if e.kind == "worker_lost"]
    assert [(e.actor, e.detail) for e in told] == [
        ("system", {"worker": "doomed", "attempt": 1, "crashes": 1, "reason": "worker lost"})
    ]
    [first] = task_history.attempts(made.id).items
    assert (first.outcome, first.worker) == ("crashed", "doomed")
    assert (first.error or "").startswith("WorkerLost")


@pytest.mark.req("X-09", "V-03")
@pytest.mark.parametrize(("cancel", "end"), [(False, (5, 5)), (True, (6, 9))])
def test_a_task_that_ends_with_its_worker_says_so_too(cancel: bool, end: tuple[int, int]) -> None:
    made, hand = submit("debug:noop"), Hand("doomed")
    hand.claim()
    if cancel:
        actions.cancel(made.id, actor="test")
    else:
        postgres.query("UPDATE task SET crashes = 50 RETURNING 1")
    dies(hand)
    assert row(made.id, "state", "status") == end
    events = task_history.events(made.id).items
    [lost] = [e for e in events if e.kind == "worker_lost"]
    assert lost.detail == {
        "worker": "doomed",
        "attempt": 1,
        "crashes": 1 if cancel else 51,
        "reason": "worker lost",
    }
    kinds = [event.kind for event in events]
    assert kinds.index("worker_lost") < kinds.index("ended")


@pytest.mark.req("S-12", "Q-07")
def test_the_audit_log_says_that_a_retried_task_under_a_limit_waits_in_its_line() -> None:
    api.forget()
    client = api.client("operate", "read", name="op")
    first = submit("debug:noop", limit_key="k", limit=1)
    second, third = (submit("debug:noop", limit_key="k", process_in=60) for _ in range(2))
    asked = {"task_id": second.task_id, "queue": "default"}
    assert data(client.post("/queue/tasks/retry", asked))["state"] == "aggregating"
    run_json("tasks", "run", third.task_id)
    rows = AuditEntry.objects.filter(action="task.run").order_by("id")
    assert [entry.after for entry in rows] == [{"state": "aggregating"}] * 2
    data(client.post("/queue/tasks/retry", {"task_id": first.task_id, "queue": "default"}))
    assert rows.last().after == {"state": "pending"}  # type: ignore[union-attr]
