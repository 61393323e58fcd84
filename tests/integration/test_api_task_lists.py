"""Lists of tasks and their history over REST."""

from typing import Any

import pytest

from tests.support import api
from tests.support.api import ApiClient, data
from tests.support.engine import Hand, failed, retried

NOOP = {"type": "debug:noop"}


@pytest.fixture
def caller(transactional_db: None, redis: Any) -> ApiClient:
    api.forget()
    return api.client("submit", "read")


def _submit(caller: ApiClient, **fields: Any) -> dict[str, Any]:
    return dict(data(caller.post("/tasks", {**NOOP, **fields}), 201))


@pytest.mark.req("A-04")
def test_lists_page_by_cursor_without_gap_or_repetition(caller: ApiClient) -> None:
    made = [_submit(caller)["task_id"] for _ in range(7)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = data(caller.get(f"/tasks?limit=3{cursor}"))
        assert set(page) == {"items", "next_cursor", "estimated_total"}
        assert page["estimated_total"] == 7
        seen += [item["task_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert sorted(seen) == sorted(made)
    assert len(seen) == 7


@pytest.mark.req("A-04")
def test_every_filter_finds_its_task_and_only_that(caller: ApiClient) -> None:
    wanted = _submit(
        caller,
        payload={"a": {"b": 3}},
        user_id=5,
        business_id="o-1",
        trace_id="t-1",
        tags=["red"],
        queue="low",
    )
    _submit(caller, payload={"a": {"b": 4}}, user_id=6, tags=["blue"], process_in=60)
    for query in (
        "state=pending", "queue=low", "user_id=5", "business_id=o-1", "trace_id=t-1", "tag=red", "payload.a.b=3",
        "state=pending&queue=low&type=debug:noop&status=NOT_START",
    ):  # fmt: skip
        page = data(caller.get(f"/tasks?{query}"))
        assert [item["task_id"] for item in page["items"]] == [wanted["task_id"]], query
        assert page["estimated_total"] == 1
    assert data(caller.get("/tasks?created_after=2020-01-01T00:00:00Z"))["estimated_total"] == 2
    assert data(caller.get("/tasks?created_before=2020-01-01T00:00:00Z"))["items"] == []
    assert data(caller.get("/tasks?platform=none&q=boom"))["items"] == []


@pytest.mark.req("A-04")
def test_the_text_of_errors_can_be_searched(caller: ApiClient) -> None:
    made = _submit(caller)
    hand = Hand()
    hand.settle(hand.claim(), retried)
    for text, found in (("ONCE", 1), ("o%e", 0), ("o_ce", 0)):
        page = data(caller.get(f"/tasks?q={text.replace('%', '%25')}"))
        assert len(page["items"]) == found, text
    task = data(caller.get(f"/tasks/{made['task_id']}"))
    assert (task["state"], task["last_error"], task["job_id"]) == (
        "retry",
        "once more",
        f"job:{made['task_id']}:1",
    )
    assert task["next_process_at"] is not None


@pytest.mark.req("T-04")
def test_lists_mask_secrets_and_the_owners_read_does_not(caller: ApiClient) -> None:
    payload = {"password": "p", "deep": [{"api_key": "k", "Authorization": "a", "fine": 1}]}
    made = _submit(caller, payload=payload)
    [item] = data(caller.get("/tasks"))["items"]
    mask = "********"
    assert item["payload"] == {
        "password": mask,
        "deep": [{"api_key": mask, "Authorization": mask, "fine": 1}],
    }
    assert data(caller.get(f"/tasks/{made['task_id']}"))["payload"] == payload


@pytest.mark.req("A-02")
def test_runs_and_timeline_tell_the_tasks_story(caller: ApiClient) -> None:
    made = _submit(caller)
    hand = Hand("by-hand")
    claimed = hand.claim()
    running = data(caller.get(f"/tasks/{made['task_id']}"))
    assert (running["state"], running["worker"], running["attempt"]) == ("active", "by-hand", 1)
    assert running["job_id"] == f"job:{made['task_id']}:0"
    hand.settle(claimed, failed)
    [run] = data(caller.get(f"/tasks/{made['task_id']}/attempts"))["items"]
    assert (run["attempt"], run["outcome"], run["error"]) == (1, "failed", "failed over there")
    assert run["job_id"] == f"job:{made['task_id']}:0"
    kinds = [
        event["kind"] for event in data(caller.get(f"/tasks/{made['task_id']}/events"))["items"]
    ]
    assert kinds == ["submitted", "ended"]
    ended = data(caller.get(f"/tasks/{made['task_id']}"))
    assert (ended["status"], ended["fail_reason"]) == ("FAILURE", "failed over there")
