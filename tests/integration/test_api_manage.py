"""The API that manages queues and workers, the audit log, and totals."""

from typing import Any

import pytest

from jobs.operations import audits, workers
from jobs.store import postgres
from tests.support import api
from tests.support.api import ApiClient, data, error
from tests.support.engine import Hand, balance, dead


def _submit(caller: ApiClient, **fields: Any) -> str:
    return str(data(caller.post("/tasks", {"type": "debug:noop", **fields}), 201)["task_id"])


@pytest.mark.req("A-02", "Q-08")
def test_a_paused_queue_starts_nothing_and_says_why(caller: ApiClient) -> None:
    _submit(caller)
    paused = data(caller.post("/queues/default/pause", {"reason": "deploy"}))
    assert (paused["paused"], paused["paused_reason"]) == (True, "deploy")
    assert error(caller.post("/queues/default/pause"), 409)["code"] == "conflict"
    hand = Hand()
    assert hand.claim() == []
    assert data(caller.post("/queues/default/resume"))["paused"] is False
    error(caller.post("/queues/default/resume"), 409)
    error(caller.post("/queues/nothing/resume"), 404)


@pytest.mark.req("A-02")
def test_a_queues_settings_can_be_changed(caller: ApiClient) -> None:
    changed = data(caller.patch("/queues/low", {"weight": 2, "capacity": 10}))
    assert (changed["weight"], changed["capacity"]) == (2, 10)
    assert data(caller.get("/queues/low"))["weight"] == 2
    assert len(data(caller.get("/queues"))["items"]) == 6
    error(caller.patch("/queues/low", {"weight": 0}), 422)
    error(caller.patch("/queues/low", {"name": "x"}), 400)
    [entry] = data(caller.get("/audit?action=queue.change"))["items"]
    assert (entry["before"]["weight"], entry["after"]["weight"]) == (1, 2)


@pytest.mark.req("Q-08", "Q-03")
def test_emptying_a_queue_refunds_and_deletes_what_waits_and_leaves_what_runs(
    caller: ApiClient, redis: Any
) -> None:
    data(caller.post("/accounts/5", {"grant": 100, "reason": "r"}))
    running = _submit(caller)
    Hand().claim()
    waiting = [
        _submit(caller, user_id=5, credits=30),
        _submit(caller, process_in=60, user_id=5, credits=20),
    ]
    other = _submit(caller, queue="low")
    assert balance(5) == 50
    done = data(caller.post("/queues/default/empty", {"reason": "clean"}))
    assert done == {"queue": "default", "deleted": 2, "refunded_credits": 50, "remaining": False}
    assert balance(5) == 100
    assert redis.llen("rq:queue:default") == 0
    for task_id in waiting:
        error(caller.get(f"/tasks/{task_id}"), 404)
    for task_id in (running, other):
        data(caller.get(f"/tasks/{task_id}"))
    stats = data(caller.get("/queue/stats"))["default"]
    assert (stats["pending"], stats["active"], stats["scheduled"], stats["completed"]) == (
        0,
        1,
        0,
        0,
    )
    assert postgres.query("SELECT count(*) FROM event WHERE kind = 'delete'") == [(2,)]
    assert data(caller.get("/accounts/5/entries?limit=2"))["items"][0]["kind"] == "refund"


@pytest.mark.req("Q-08")
def test_emptying_the_dead_letters_deletes_them(caller: ApiClient) -> None:
    task_id = _submit(caller)
    hand = Hand()
    hand.settle(hand.claim(), dead)
    assert data(caller.post("/queues/dead_letter/empty"))["deleted"] == 1
    error(caller.get(f"/tasks/{task_id}"), 404)


@pytest.mark.req("A-02")
def test_workers_are_listed_and_commanded(caller: ApiClient) -> None:
    hand = Hand("w1")
    [worker] = data(caller.get("/workers"))["items"]
    assert (worker["name"], worker["state"], worker["concurrency"]) == ("w1", "running", 10)
    data(caller.post("/workers/w1/quiet"))
    beat = workers.beat(hand.id, {})
    assert beat is not None
    assert beat.command == "quiet"
    assert data(caller.get("/workers"))["items"][0]["state"] == "quiet"
    data(caller.post("/workers/w1/wake"))
    beat = workers.beat(hand.id, {})
    assert beat is not None
    assert beat.command == ""
    assert data(caller.get("/workers"))["items"][0]["state"] == "running"
    data(caller.post("/workers/w1/stop"))
    error(caller.post("/workers/w2/wake"), 404)
    workers.retire(hand.id)
    error(caller.post("/workers/w1/stop"), 404)
    assert data(caller.get("/workers"))["items"] == []


@pytest.mark.req("A-02", "T-06")
def test_the_audit_log_tells_refused_attempts_apart(caller: ApiClient) -> None:
    error(api.client("operate", name="weak").post("/accounts/7", {"grant": 5, "reason": "r"}), 403)
    data(caller.post("/accounts/7", {"grant": 5, "reason": "r"}))
    error(caller.post("/accounts/7", {"grant": 0, "reason": "r"}), 422)
    data(caller.post("/queues/low/pause"))
    error(caller.post("/queues/low/pause"), 409)
    assert [e["refused"] for e in data(caller.get("/audit"))["items"]] == [False, False, True]
    [refused] = data(caller.get("/audit?refused=true"))["items"]
    assert (refused["action"], refused["refused"]) == ("account.grant", True)
    done = data(caller.get("/audit?refused=false&action=account.grant"))["items"]
    assert [e["refused"] for e in done] == [False]
    error(caller.get("/audit?refused=perhaps"), 422)


@pytest.mark.req("A-04")
def test_an_estimated_total_is_at_least_what_was_seen(caller: ApiClient) -> None:
    for n in range(6):
        audits.record(actor="test", action=f"a.{n}")
    page = data(caller.get("/audit?limit=5"))
    assert page["next_cursor"] is not None
    assert page["estimated_total"] >= 6
    _submit(caller)
    _submit(caller)
    postgres.query("DELETE FROM stat_delta RETURNING 1")
    postgres.query("DELETE FROM queue_stat RETURNING 1")  # counters that lag behind
    assert data(caller.get("/tasks?limit=1"))["estimated_total"] >= 2


@pytest.mark.req("AC55", "A-02")
def test_a_queues_history_is_as_long_as_asked_for(caller: ApiClient) -> None:
    found = data(caller.get("/queues/default/history?days=3"))
    assert [(d["processed"], d["failed"]) for d in found["items"]] == [(0, 0)] * 3
    assert len(data(caller.get("/queues/default/history"))["items"]) == 7
    for wrong in ("0", "-1", "91"):
        error(caller.get(f"/queues/default/history?days={wrong}"), 422)
    error(caller.get("/queues/nowhere/history"), 404)
