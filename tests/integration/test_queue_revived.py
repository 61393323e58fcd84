"""What brings a deleted queue back and what does not, and deletions that end half way (AC10, AC54)."""

from typing import Any

import pytest
from django.db import transaction

from jobs.domain.errors import QueueFull, TaskCenterError
from jobs.models import AuditEntry, Queue
from jobs.operations import (
    credits,
    duties,
    emptying,
    queues,
    removing,
    runs,
    tasks,
    tenants,
    tending,
    tickets,
)
from jobs.operations.requests import TaskRequest
from jobs.store import catalog, postgres
from tests.support.database import other_connection
from tests.support.engine import Hand, balance, row
from tests.support.processes import Processes
from tests.support.wait import eventually

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.req("AC54", "AC10", "Q-08")]

_DELETE = ("queues", "delete", "acme:low", "--force", "--yes")


@pytest.fixture
def acme(engine: None) -> int:
    return tenants.create("acme").pk


@pytest.fixture
def gone(acme: int) -> int:
    """The tenant, whose queue `low` is deleted."""
    removing.remove("acme:low", force=False, actor="test")
    return acme


def low() -> Queue:
    return Queue.objects.get(name="acme:low")


def fold() -> None:
    while duties.fold():
        pass


def test_a_submit_to_a_deleted_queue_holds_up_no_emergency_stop_before_its_commit(
    gone: int,
) -> None:
    tickets.warm()
    with transaction.atomic(), other_connection() as other:
        made = tasks.submit("debug:noop", queue="low", tenant_id=gone)
        other.execute("SET lock_timeout = '200ms'")
        other.execute("UPDATE control SET version = version + 1")
        other.execute("UPDATE queue SET weight = weight WHERE name = 'acme:low'")
    assert made.queue == "acme:low"
    assert not low().removed
    assert Hand().fetch() == [str(made.id)]


def test_a_task_whose_submitter_died_after_its_commit_runs_and_brings_its_queue_back(
    gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "revive_soon", lambda ids: None)
    made = tasks.submit("debug:noop", queue="low", tenant_id=gone)
    assert low().removed
    fold()
    assert not low().removed
    tending.tend()
    assert [run.id for run in Hand().claim()] == [str(made.id)]


def refused(options: dict[str, Any], error: type[Exception], tenant_id: int) -> None:
    with pytest.raises(error):
        tasks.submit(options.pop("type", "debug:noop"), queue="low", tenant_id=tenant_id, **options)
    assert low().removed


def test_a_refused_submit_leaves_the_queue_deleted(gone: int) -> None:
    refused({"credits": 5, "user_id": 7}, TaskCenterError, gone)
    refused({"type": "debug:echo", "payload": {"x": object()}}, TaskCenterError, gone)
    refused({"limit": {"concurrency": 1}}, TaskCenterError, gone)
    with transaction.atomic():
        tasks.submit("debug:noop", queue="low", tenant_id=gone)
        transaction.set_rollback(True)
    fold()
    assert low().removed


def test_a_submit_over_its_tenants_quota_or_of_a_taken_key_leaves_the_queue_deleted(
    acme: int,
) -> None:
    tasks.submit("debug:noop", queue="high", tenant_id=acme, unique_key="one")
    removing.remove("acme:low", force=False, actor="test")
    refused({"unique_key": "one"}, TaskCenterError, acme)
    tenants.change("acme", {"max_pending": 1})
    fold()
    catalog.stale()
    refused({}, TaskCenterError, acme)


def test_of_a_batch_the_accepted_one_brings_the_queue_back(gone: int) -> None:
    good = TaskRequest(type="debug:noop", queue="low")
    bad = TaskRequest(type="debug:noop", queue="low", credits=3, user_id=7)
    tasks.submit_many([bad], tenant_id=gone)
    assert low().removed
    tasks.submit_many([bad, good], tenant_id=gone)
    assert not low().removed


@pytest.mark.parametrize("force", [False, True])
def test_a_queue_that_was_paused_before_its_deletion_comes_back_paused(
    acme: int, force: bool
) -> None:
    if force:
        tasks.submit("debug:noop", queue="low", tenant_id=acme)
    queues.pause("acme:low", reason="disk full")
    removing.remove("acme:low", force=force, actor="test")
    made = tasks.submit("debug:noop", queue="low", tenant_id=acme)
    assert (low().removed, low().paused, low().paused_reason) == (False, True, "disk full")
    fold()
    tending.tend()
    assert Hand().claim() == []
    queues.resume("acme:low")
    tending.tend()
    assert [run.id for run in Hand().claim()] == [str(made.id)]


def test_a_queue_of_a_tenant_that_is_paused_after_its_deletion_comes_back_paused(gone: int) -> None:
    tenants.pause("acme", actor="boss", reason="unpaid")
    tasks.submit("debug:noop", queue="low", tenant_id=gone)
    assert (low().removed, low().tenant_paused) == (False, True)
    tenants.resume("acme")
    assert not low().tenant_paused


def test_an_operators_pause_during_a_deletion_stays(
    acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks.submit("debug:noop", queue="low", tenant_id=acme)
    empty = emptying.empty

    def paused(name: str, **options: Any) -> emptying.Emptied:
        queues.pause(name, reason="disk full")
        return empty(name, **options)

    monkeypatch.setattr(emptying, "empty", paused)
    removing.remove("acme:low", force=True, actor="test")
    assert (low().removed, low().paused, low().paused_reason) == (True, True, "disk full")


def test_a_queue_that_ran_before_its_deletion_comes_back_running(acme: int) -> None:
    tasks.submit("debug:noop", queue="low", tenant_id=acme)
    removing.remove("acme:low", force=True, actor="test")
    made = tasks.submit("debug:noop", queue="low", tenant_id=acme)
    assert (low().removed, low().paused, low().paused_reason) == (False, False, "")
    assert [run.id for run in Hand().claim()] == [str(made.id)]


@pytest.mark.parametrize("point", ["deletion_begun", "deletion_emptied"])
@pytest.mark.req("P-03")
def test_a_deletion_whose_process_died_is_taken_back_and_nothing_is_lost(
    acme: int, processes: Processes, point: str
) -> None:
    credits.grant(user_id=7, amount=100, reason="test", actor="test", tenant_id=acme)
    asked: dict[str, Any] = {"queue": "low", "tenant_id": acme, "user_id": 7, "credits": 5}
    made = [tasks.submit("debug:noop", **asked) for _ in range(3)]
    doomed = processes.manage(*_DELETE, env={"TASKCENTER_CRASH_AT": point})
    assert doomed.wait() == 137
    late = tasks.submit("debug:noop", **asked)
    left = [late] if point == "deletion_emptied" else [*made, late]
    assert (low().paused, balance(7)) == (True, 100 - 5 * len(left))
    assert removing.take_back() == []  # it may still be at work
    postgres.query("UPDATE queue SET deleting_at = deleting_at - interval '10 minutes' RETURNING 1")
    assert removing.take_back() == ["acme:low"]
    assert (low().paused, low().removed, low().paused_reason) == (False, False, "")
    assert removing.take_back() == []
    fold()
    tending.tend()
    assert {run.id for run in Hand().claim()} == {str(task.id) for task in left}
    assert AuditEntry.objects.filter(
        target="acme:low", action="queue.delete", refused=True
    ).exists()


@pytest.mark.req("P-03")
def test_a_living_worker_takes_back_a_deletion_that_died(acme: int, processes: Processes) -> None:
    made = tasks.submit("debug:noop", queue="low", tenant_id=acme)
    postgres.query(
        "UPDATE queue SET paused = true, paused_reason = 'being deleted',"
        " deleting_at = now() - interval '2 minutes' WHERE name = 'acme:low' RETURNING 1"
    )
    processes.manage("rqworker").wait_for("[Asynq] Polling system initialized", 60)
    eventually(lambda: row(made.id, "state") == 6, 20)
    assert not low().paused


@pytest.mark.req("P-03")
def test_a_pause_older_than_the_deletion_that_died_stays(acme: int, processes: Processes) -> None:
    tasks.submit("debug:noop", queue="low", tenant_id=acme)
    queues.pause("acme:low", reason="disk full")
    doomed = processes.manage(*_DELETE, env={"TASKCENTER_CRASH_AT": "deletion_begun"})
    assert doomed.wait() == 137
    postgres.query("UPDATE queue SET deleting_at = deleting_at - interval '10 minutes' RETURNING 1")
    removing.take_back()
    assert (low().paused, low().paused_reason) == (True, "disk full")


def test_a_deletion_that_goes_on_after_its_pause_was_lifted_deletes_no_running_task(
    acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand()
    made = tasks.submit("debug:noop", queue="low", tenant_id=acme)
    empty = emptying.empty

    def lifted(name: str, **options: Any) -> emptying.Emptied:
        queues.resume(name)
        assert [run.id for run in runs.claim(hand.id, hand.fetch())] == [str(made.id)]
        return empty(name, **options)

    monkeypatch.setattr(emptying, "empty", lifted)
    with pytest.raises(TaskCenterError):
        removing.remove("acme:low", force=True, actor="test")
    assert row(made.id, "state") == 2
    assert (low().paused, low().removed) == (False, False)


def test_a_full_queue_is_no_reason_to_forget_its_deletion(gone: int) -> None:
    postgres.query("UPDATE queue SET level = 2 WHERE name = 'acme:low' RETURNING 1")
    catalog.stale()
    with pytest.raises(QueueFull):
        tasks.submit("debug:noop", queue="low", tenant_id=gone)
    assert low().removed
