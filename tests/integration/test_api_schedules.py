"""The API of schedules: made, changed, run, paused, deleted, refused."""

from typing import Any

import pytest

from tests.support.api import ApiClient, data, error

EVERY = {
    "name": "tick",
    "cron": "@every 30s",
    "timezone": "Asia/Shanghai",
    "type": "debug:noop",
    "queue": "low",
}


@pytest.mark.req("A-02", "D-06", "AC39")
def test_a_schedule_is_created_changed_run_paused_and_deleted(caller: ApiClient) -> None:
    response = caller.post(
        "/schedules", {**EVERY, "payload": {"a": 1}, "missed": "once", "enabled": True}
    )
    made = data(response, 201)
    path = f"/schedules/{made['id']}"
    assert response.headers["Location"] == f"/api/v1{path}"
    assert (made["options"], made["missed"], made["timezone"]) == (
        {"queue": "low"},
        "once",
        "Asia/Shanghai",
    )
    assert made["next_at"] is not None
    changed = data(caller.patch(path, {"cron": "*/10 * * * *", "tags": ["x"]}))
    assert (changed["cron"], changed["options"]) == (
        "*/10 * * * *",
        {"queue": "low", "tags": ["x"]},
    )
    ran = data(caller.post(f"{path}/run"), 201)
    assert (ran["queue"], ran["payload"], ran["tags"]) == ("low", {"a": 1}, ["x"])
    [tick] = data(caller.get(f"{path}/ticks"))["items"]
    assert tick["task_id"] == ran["task_id"]
    assert data(caller.post(f"{path}/pause"))["next_at"] is None
    assert data(caller.post(f"{path}/resume"))["enabled"] is True
    assert [s["id"] for s in data(caller.get("/schedules"))["items"]] == [made["id"]]
    data(caller.delete(path))
    error(caller.get(path), 404)
    entries = data(caller.get("/audit"))["items"]
    assert [e["action"].partition(".")[2] for e in reversed(entries)] == [
        "create", "change", "run", "pause", "resume", "delete"
    ]  # fmt: skip


@pytest.mark.req("D-06", "A-03")
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"cron": "often"}, 422),
        ({"cron": "@every 0s"}, 422),
        ({"timezone": "Mars/Base"}, 422),
        ({"timezone": "x" * 400}, 422),
        ({"type": "no:such"}, 422),
        ({"name": ""}, 422),
        ({"missed": "always"}, 422),
        ({"queue": "nowhere"}, 422),
        ({"idempotency_key": "k"}, 400),
        ({"cron": "\x00"}, 422),
        ({"name": "a\x00"}, 422),
    ],
)
def test_a_wrong_schedule_is_refused(
    caller: ApiClient, change: dict[str, Any], status: int
) -> None:
    error(caller.post("/schedules", {**EVERY, **change}), status)
    assert data(caller.get("/schedules"))["items"] == []
    for path in ("/schedules/99", "/schedules/x"):
        error(caller.get(path), 404)
        error(caller.post(f"{path}/run"), 404)


@pytest.mark.req("D-06")
def test_a_schedules_name_is_taken_once(caller: ApiClient) -> None:
    data(caller.post("/schedules", EVERY), 201)
    assert error(caller.post("/schedules", EVERY), 409)["code"] == "conflict"
