"""The guide's nine endpoints (section 2.6), as its curl lines use them."""

from typing import Any

import pytest

from jobs.operations import credits
from jobs.store import postgres
from tests.support import api
from tests.support.api import ApiClient, data, error
from tests.support.engine import Hand, balance, dead, retried

CHINESE = "任务已取消并退还资源"


@pytest.fixture
def caller(transactional_db: None, redis: Any) -> ApiClient:
    api.forget()
    credits.grant(user_id=100, amount=1000, reason="test", actor="test")
    return api.client("admin")


def _submit(caller: ApiClient, **fields: Any) -> str:
    body = {"type": "debug:noop", "queue": "scheduled", **fields}
    return str(data(caller.post("/tasks", body), 201)["task_id"])


def _charged(caller: ApiClient, **fields: Any) -> str:
    return _submit(caller, user_id=100, credits=300, **fields)


def _dead(caller: ApiClient, **fields: Any) -> str:
    task_id = _submit(caller, **fields)
    hand = Hand()
    hand.settle(hand.claim(), dead)
    return task_id


@pytest.mark.req("A-01", "Q-03")
def test_stats_add_up_as_in_the_guide(caller: ApiClient) -> None:
    for _ in range(3):
        _submit(caller)
    hand = Hand()
    claimed = hand.claim(want=2)
    hand.settle(claimed[:1], retried)
    _submit(caller, process_in=60)
    _submit(caller, process_in=60)
    stats = data(caller.get("/queue/stats"))
    assert list(stats) == ["critical", "high", "default", "scheduled", "low", "dead_letter"]
    found = stats["scheduled"]
    guide = {
        name: found[name]
        for name in ("queue", "size", "pending", "active", "scheduled", "retry", "archived")
    }
    assert guide == {
        "queue": "scheduled", "size": 5, "pending": 1, "active": 1, "scheduled": 2, "retry": 1, "archived": 0
    }  # fmt: skip
    assert {
        "completed",
        "aggregating",
        "paused",
        "weight",
        "capacity",
        "utilization",
        "oldest_pending_s",
    } <= set(found)
    assert (found["processed"], found["failed"]) == (1, 1)
    assert found["oldest_pending_s"] > 0


@pytest.mark.req("A-01", "M-05")
def test_health_has_the_guides_fields(caller: ApiClient) -> None:
    health = data(caller.get("/queue/health"))
    assert (health["healthy"], health["worker_active_count"]) == (False, 0)
    Hand()
    health = data(caller.get("/queue/health"))
    guide = (
        "healthy",
        "redis_connected",
        "worker_active_count",
        "processor_count",
        "backpressure_state",
    )
    assert {name: health[name] for name in guide} == {
        "healthy": True, "redis_connected": True, "worker_active_count": 1, "processor_count": 10,
        "backpressure_state": "NORMAL",
    }  # fmt: skip
    assert health["postgres_connected"] is True
    assert (health["queue_utilization"], health["drift"]) == (0, 0)


@pytest.mark.req("A-01", "M-06")
def test_the_overview_counts_errors_and_shows_what_fires(caller: ApiClient) -> None:
    _dead(caller)
    postgres.query("UPDATE worker SET dead_at = now() RETURNING 1")
    seen = data(caller.get("/queue/overview"))
    assert (seen["totals"]["archived"], seen["totals"]["failed"]) == (1, 1)
    assert [(e["error"], e["count"]) for e in seen["top_errors"]] == [("boom", 1)]
    assert set(seen["rates"]) == {"minute", "hour"}
    assert {"WorkersOffline", "DeadLettersPresent"} <= {alert["name"] for alert in seen["alerts"]}


@pytest.mark.req("A-01")
def test_the_task_list_has_the_guides_defaults_and_fields(caller: ApiClient) -> None:
    made = [_submit(caller, payload={"n": n}) for n in range(3)]
    _submit(caller, queue="low")
    page = data(caller.get("/queue/tasks"))
    assert {name: page[name] for name in ("total", "page", "size")} == {
        "total": 3,
        "page": 1,
        "size": 20,
    }
    assert [item["task_id"] for item in page["items"]] == made
    assert page["items"][0] == {
        "id": f"job:{made[0]}:0", "task_id": made[0], "type": "debug:noop", "queue": "scheduled", "state": "pending",
        "retried": 0, "max_retry": 3, "next_process_at": None, "payload": {"n": 0}, "last_error": None,
    }  # fmt: skip
    second = data(caller.get("/queue/tasks?queue=scheduled&state=pending&page=2&size=2"))
    assert [item["task_id"] for item in second["items"]] == made[2:]
    assert data(caller.get("/queue/tasks?page=9"))["items"] == []


@pytest.mark.req("A-01", "Q-07")
def test_a_queues_archived_tasks_include_its_dead_letters(caller: ApiClient) -> None:
    task_id = _dead(caller)
    for queue in ("scheduled", "dead_letter"):
        page = data(caller.get(f"/queue/tasks?queue={queue}&state=archived"))
        assert ([i["task_id"] for i in page["items"]], page["total"]) == ([task_id], 1), queue
        listed = data(caller.get(f"/tasks?queue={queue}&state=archived"))
        assert listed["estimated_total"] == 1
    view = data(caller.get(f"/tasks/{task_id}"))
    assert (view["queue"], view["origin_queue"], view["last_error"]) == (
        "dead_letter",
        "scheduled",
        "boom",
    )


@pytest.mark.req("A-01", "Q-03", "Q-06")
def test_retry_takes_the_guides_body_and_redrives_a_dead_letter(caller: ApiClient) -> None:
    task_id = _dead(caller)
    body = {"queue": "scheduled", "task_id": f"job:{task_id}:5"}
    again = data(caller.post("/queue/tasks/retry", body))
    assert (again["state"], again["status"], again["queue"]) == (
        "pending",
        "NOT_START",
        "scheduled",
    )
    assert again["job_id"].startswith(f"job:{task_id}:retry:")
    assert data(caller.get(f"/tasks/{again['job_id']}"))["task_id"] == task_id
    hand = Hand()
    hand.settle(hand.claim(), retried)
    assert data(caller.get(f"/tasks/{task_id}"))["job_id"] == f"job:{task_id}:2"


@pytest.mark.req("A-01", "Q-03")
def test_archive_and_retry_of_a_waiting_task(caller: ApiClient) -> None:
    task_id = _submit(caller, process_in=60)
    body = {"queue": "scheduled", "task_id": f"job:{task_id}:0"}
    archived = data(caller.post("/queue/tasks/archive", body))
    assert (archived["state"], archived["queue"]) == ("archived", "scheduled")
    assert error(caller.post("/queue/tasks/archive", body), 409)["code"] == "illegal_state"
    assert data(caller.post("/queue/tasks/retry", body))["state"] == "pending"


@pytest.mark.req("A-01", "Q-07")
def test_the_guides_delete_works_on_a_dead_letter_by_its_origin_queue(caller: ApiClient) -> None:
    task_id = _dead(caller)
    path = f"/queue/tasks/job:{task_id}:0?queue=scheduled&state="
    assert error(caller.delete(path + "retry"), 409)["code"] == "conflict"
    assert (
        error(caller.delete(f"/queue/tasks/job:{task_id}:0?queue=low"), 404)["code"]
        == "task_not_found"
    )
    assert data(caller.delete(path + "archived")) == {"task_id": task_id, "deleted": True}
    error(caller.delete(path + "archived"), 404)
    error(caller.get(f"/tasks/{task_id}"), 404)


@pytest.mark.req("A-01", "Q-03")
def test_deleting_a_charged_waiting_task_refunds_it(caller: ApiClient) -> None:
    task_id = _charged(caller)
    assert balance(100) == 700
    data(caller.delete(f"/queue/tasks/job:{task_id}:0"))
    assert balance(100) == 1000


@pytest.mark.req("A-01", "C-04")
def test_cancel_answers_exactly_as_in_the_guide(caller: ApiClient) -> None:
    task_id = _charged(caller)
    response = caller.post("/queue/tasks/cancel", {"task_id": task_id, "reason": "用户申请取消"})
    assert response.status_code == 200
    assert response.json() == {
        "success": True,
        "message": CHINESE,
        "data": {
            "task_id": task_id, "user_id": 100, "credits": 300, "refunded": True, "reason": "用户申请取消"
        },
    }  # fmt: skip
    assert balance(100) == 1000
    view = data(caller.get(f"/tasks/{task_id}"))
    assert (view["state"], view["status"], view["fail_reason"]) == (
        "completed",
        "CANCELLED",
        "用户申请取消",
    )
    assert view["refunded_credits"] == 300
    assert (
        error(caller.post("/queue/tasks/cancel", {"task_id": task_id}), 409)["code"]
        == "illegal_state"
    )
    error(caller.post("/queue/tasks/cancel", {"task_id": "task_none"}), 404)


@pytest.mark.req("C-04", "V-13")
def test_the_message_follows_the_callers_language(caller: ApiClient) -> None:
    for language, message in (
        ("en", "The task was cancelled and its credits were refunded"),
        ("zh-CN", CHINESE),
    ):
        body = {"task_id": _submit(caller)}
        response = caller.post("/queue/tasks/cancel", body, Accept_Language=language)
        assert response.json()["message"] == message
        assert response.json()["data"]["reason"] == "管理员手动取消"


@pytest.mark.req("C-04", "X-04")
def test_cancelling_a_running_task_is_a_request_unless_forced(caller: ApiClient) -> None:
    task_id = _charged(caller)
    Hand().claim()
    asked = caller.post("/queue/tasks/cancel", {"task_id": task_id})
    found = data(asked, 202)
    assert (found["refunded"], found["cancel_requested"]) == (False, True)
    assert balance(100) == 700
    forced = data(caller.post("/queue/tasks/cancel", {"task_id": task_id, "force": True}))
    assert forced["refunded"] is True
    assert balance(100) == 1000


@pytest.mark.req("A-01", "C-04")
def test_a_batch_of_cancels_reports_each(caller: ApiClient) -> None:
    good = [_charged(caller), _charged(caller)]
    done = data(
        caller.post("/queue/tasks/cancel/batch", {"task_ids": [*good, good[0], "task_none"]})
    )
    assert (done["total"], done["cancelled"], done["refunded_credits"]) == (4, 2, 600)
    assert [r["success"] for r in done["results"]] == [True, True, False, False]
    assert set(done["results"][0]) == {
        "task_id",
        "success",
        "user_id",
        "credits",
        "refunded",
        "reason",
        "error",
    }
    assert done["results"][0]["reason"] == "管理员批量取消"
    assert [r["error"]["code"] for r in done["results"][2:]] == ["illegal_state", "task_not_found"]
    assert balance(100) == 1000


@pytest.mark.req("A-01", "C-04")
@pytest.mark.parametrize("count", [0, 101])
def test_a_batch_of_cancels_has_1_to_100_tasks(caller: ApiClient, count: int) -> None:
    error(caller.post("/queue/tasks/cancel/batch", {"task_ids": ["task_x"] * count}), 422)
