"""Submitting and reading tasks over REST."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from jobs.operations import credits
from jobs.store import postgres
from tests.support import api
from tests.support.api import ApiClient, data, error
from tests.support.engine import Hand, succeeded

FIELDS = [
    "task_id",
    "job_id",
    "type",
    "queue",
    "origin_queue",
    "state",
    "status",
    "progress",
    "retried",
    "max_retries",
    "attempt",
    "crashes",
    "payload",
    "result",
    "last_error",
    "fail_reason",
    "platform",
    "external_id",
    "raw_status",
    "user_id",
    "business_id",
    "trace_id",
    "tags",
    "headers",
    "credits",
    "refunded_credits",
    "created_at",
    "next_process_at",
    "started_at",
    "finished_at",
    "timeout",
    "deadline",
    "worker",
    "deferred",
    "links",
]
NOOP = {"type": "debug:noop"}


@pytest.fixture
def caller(transactional_db: None, redis: Any) -> ApiClient:
    api.forget()
    return api.client("submit", "read")


def _submit(caller: ApiClient, **fields: Any) -> dict[str, Any]:
    return dict(data(caller.post("/tasks", {**NOOP, **fields}), 201))


@pytest.mark.req("S-01", "Q-06")
@pytest.mark.parametrize("paths", [("/tasks", "/tasks"), ("/enqueue", "/status")])
def test_a_submit_answers_with_the_task_as_a_read_shows_it(
    caller: ApiClient, paths: tuple[str, str]
) -> None:
    body = {
        "type": "debug:echo",
        "payload": {"user_id": 100, "template": "welcome"},
        "tags": ["signup"],
    }
    response = caller.post(paths[0], body)
    made = data(response, 201)
    assert list(made) == FIELDS
    assert response.headers["Location"] == f"/api/v1/tasks/{made['task_id']}"
    assert made["job_id"] == f"job:{made['task_id']}:0"
    assert (made["state"], made["status"], made["queue"]) == ("pending", "NOT_START", "default")
    assert made["links"]["events"] == f"/api/v1/tasks/{made['task_id']}/events"
    assert data(caller.get(f"{paths[1]}/{made['task_id']}")) == made
    assert data(caller.get(f"/tasks/{made['job_id']}")) == made


@pytest.mark.req("S-02", "S-11")
def test_all_options_of_a_submit_come_back(caller: ApiClient) -> None:
    at = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    asked = {
        "payload": {"n": 9007199254740993, "x": [1.5, None, "é"]},
        "queue": "low",
        "process_at": at.isoformat(),
        "max_retries": 7,
        "timeout": 0.25,
        "deadline": "2099-12-01T00:00:00Z",
        "business_id": "order-17",
        "user_id": 100,
        "trace_id": "trace-1",
        "headers": {"a": "b"},
        "tags": ["x", "y"],
        "task_id": "my-own.name_1",
    }
    made = _submit(caller, **asked)
    same = (
        "payload",
        "queue",
        "max_retries",
        "timeout",
        "deadline",
        "business_id",
        "user_id",
        "trace_id",
        "headers",
        "tags",
    )
    assert {name: made[name] for name in same} == {name: asked[name] for name in same}
    assert made["task_id"] == "my-own.name_1"
    assert made["state"] == "scheduled"
    assert datetime.fromisoformat(made["next_process_at"]) == at
    assert data(caller.get("/tasks/my-own.name_1")) == made


@pytest.mark.req("S-02", "A-03")
def test_a_callers_id_in_use_is_a_conflict(caller: ApiClient) -> None:
    _submit(caller, task_id="once")
    assert (
        error(caller.post("/tasks", {**NOOP, "task_id": "once"}), 409)["code"] == "task_id_in_use"
    )


@pytest.mark.req("S-06", "A-04")
def test_an_idempotency_key_returns_the_first_answer(caller: ApiClient) -> None:
    body = {**NOOP, "process_in": 60, "payload": {"a": 1}}
    first = caller.post("/tasks", body, Idempotency_Key="k1")
    again = caller.post("/tasks", body, Idempotency_Key="k1")
    assert data(again, 201) == data(first, 201)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    other = caller.post("/tasks", {**body, "payload": {"a": 2}}, Idempotency_Key="k1")
    assert error(other, 422)["code"] == "idempotency_mismatch"


@pytest.mark.req("S-06")
def test_the_first_answer_stands_after_the_task_has_moved_on(caller: ApiClient) -> None:
    first = caller.post("/tasks", NOOP, Idempotency_Key="k2")
    hand = Hand()
    hand.settle(hand.claim(), succeeded)
    assert data(caller.post("/tasks", NOOP, Idempotency_Key="k2"), 201) == data(first, 201)


@pytest.mark.req("S-06")
def test_concurrent_posts_with_one_key_make_one_task(caller: ApiClient) -> None:
    seen: list[tuple[int, str]] = []

    def post() -> None:
        response = caller.post("/tasks", NOOP, Idempotency_Key="shared")
        seen.append((response.status_code, data(response, 201)["task_id"]))
        connection.close()

    threads = [threading.Thread(target=post) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 16
    assert len(set(seen)) == 1
    assert postgres.query("SELECT count(*) FROM task") == [(1,)]


@pytest.mark.req("S-05")
def test_a_duplicate_of_a_unique_task_names_the_first(caller: ApiClient) -> None:
    first = _submit(caller, unique_for=60)
    found = error(caller.post("/tasks", {**NOOP, "unique_for": 60}), 409)
    assert found["code"] == "duplicate_task"
    assert found["details"]["task_id"] == first["task_id"]


@pytest.mark.req("S-04")
def test_one_bad_item_does_not_sink_a_batch(caller: ApiClient) -> None:
    tasks = [
        NOOP,
        {"type": "no:such"},
        {**NOOP, "unknown": 1},
        {**NOOP, "queue": "dead_letter"},
        {**NOOP, "idempotency_key": "b1"},
        {**NOOP, "idempotency_key": "b1"},
        "text",
    ]
    done = data(caller.post("/tasks/batch", {"tasks": tasks}))
    assert (done["accepted"], done["rejected"]) == (3, 4)
    results = done["results"]
    assert [r["index"] for r in results] == list(range(7))
    assert set(results[0]) == {"index", "task_id"}
    assert [r.get("error", {}).get("code") for r in results] == [
        None, "unknown_type", "malformed", "invalid", None, None, "malformed"
    ]  # fmt: skip
    assert results[4]["task_id"] == results[5]["task_id"]
    assert data(caller.get(f"/tasks/{results[0]['task_id']}"))["state"] == "pending"


@pytest.mark.req("S-04")
@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_has_1_to_1000_items(caller: ApiClient, count: int) -> None:
    assert error(caller.post("/tasks/batch", {"tasks": [NOOP] * count}), 422)["code"] == "invalid"


@pytest.mark.req("S-04")
def test_a_batch_of_a_thousand_is_accepted(caller: ApiClient) -> None:
    assert data(caller.post("/tasks/batch", {"tasks": [NOOP] * 1000}))["accepted"] == 1000
    assert data(caller.get("/tasks?limit=1"))["estimated_total"] == 1000


@pytest.mark.req("A-04")
def test_a_long_poll_answers_when_the_task_ends(caller: ApiClient) -> None:
    made = _submit(caller)
    answers: list[Any] = []

    def wait() -> None:
        answers.append(data(caller.get(f"/tasks/{made['task_id']}?wait=20")))
        connection.close()

    waiting = threading.Thread(target=wait)
    waiting.start()
    hand = Hand()
    hand.settle(hand.claim(), succeeded)
    waiting.join(timeout=10)
    assert not waiting.is_alive()
    assert answers[0]["state"] == "completed"


@pytest.mark.req("A-04")
def test_a_long_poll_on_a_waiting_task_answers_after_its_time(caller: ApiClient) -> None:
    made = _submit(caller)
    assert data(caller.get(f"/tasks/{made['task_id']}?wait=0.3"))["state"] == "pending"
    assert error(caller.get(f"/tasks/{made['task_id']}?wait=31"), 422)["details"]["field"] == "wait"


@pytest.mark.req("C-01")
def test_a_charge_that_the_balance_does_not_cover_is_402(caller: ApiClient) -> None:
    credits.grant(user_id=9, amount=10, reason="test", actor="test")
    asked = {**NOOP, "user_id": 9, "credits": 10}
    assert data(caller.post("/tasks", asked), 201)["credits"] == 10
    assert error(caller.post("/tasks", asked), 402)["code"] == "insufficient_credits"


@pytest.mark.req("S-10")
def test_a_parent_shows_its_shards(caller: ApiClient) -> None:
    made = data(caller.post("/tasks", {"type": "debug:fanout", "payload": {"shards": 3}}), 201)
    assert made["state"] == "aggregating"
    assert made["shards"] == {"total": 3, "done": 0, "failed": 0}
    assert data(caller.get(f"/tasks/{made['task_id']}")) == made


@pytest.mark.req("A-03", "AF16")
@pytest.mark.parametrize("tail", ["", "/attempts", "/events"])
@pytest.mark.parametrize(
    "name", ["task_01M87M6AGCEBM9R65Q72XS9FZ4", "job:x:1", "nothing", "%00", "%F0%9F%92%A9"]
)
def test_an_unknown_task_is_404(caller: ApiClient, name: str, tail: str) -> None:
    assert error(caller.get(f"/tasks/{name}{tail}"), 404)["code"] == "task_not_found"


@pytest.mark.req("M-05")
def test_a_task_carries_the_trace_of_its_request(caller: ApiClient) -> None:
    parent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    made = data(caller.post("/tasks", NOOP, traceparent=parent), 201)
    assert made["trace_id"] == "ab" * 16
