"""What the API says of tasks and lists is what happened, in the caller's own words."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from jobs.domain.errors import Invalid
from jobs.models import Account, Platform
from jobs.operations import actions, credits, keys, platforms, schedules, tenants
from jobs.operations.platforms import PlatformSpec
from jobs.operations.tasks import submit
from tests.support import api
from tests.support.api import ApiClient, data, error
from tests.support.engine import Hand, dead, row, succeeded

NOOP = {"type": "debug:noop"}


@pytest.fixture
def caller(engine: None) -> ApiClient:
    api.forget()
    return api.client("admin", name="boss")


def died(caller: ApiClient, body: dict[str, Any] | None = None) -> str:
    made = data(caller.post("/tasks", body or NOOP), 201)
    hand = Hand()
    hand.settle(hand.claim(), dead)
    return str(made["task_id"])


@pytest.mark.req("A-04", "Q-07")
def test_a_dead_letter_finished_with_its_last_failure_and_its_timeline_says_so(
    caller: ApiClient,
) -> None:
    task_id = died(caller)
    view = data(caller.get(f"/tasks/{task_id}"))
    [attempt] = data(caller.get(f"/tasks/{task_id}/attempts"))["items"]
    assert view["finished_at"] == attempt["ended_at"] is not None
    events = data(caller.get(f"/tasks/{task_id}/events"))["items"]
    assert [e["kind"] for e in events] == ["submitted", "ended"]
    assert events[-1]["detail"] == {"status": "FAILURE"}
    assert events[-1]["at"] == view["finished_at"]
    by_hand = submit("debug:noop")
    actions.archive(by_hand.id, actor="test")
    assert data(caller.get(f"/tasks/{by_hand.task_id}"))["finished_at"] is None
    caller.post("/queue/tasks/retry", {"task_id": task_id})
    assert data(caller.get(f"/tasks/{task_id}"))["finished_at"] is None


@pytest.mark.req("Q-06")
def test_the_first_run_of_a_redrive_has_the_redrives_job_id_among_its_attempts_too(
    caller: ApiClient,
) -> None:
    task_id = died(caller)
    redriven = data(caller.post("/queue/tasks/retry", {"task_id": task_id}))
    assert redriven["job_id"].startswith(f"job:{task_id}:retry:")
    hand = Hand()
    hand.settle(hand.claim(), dead)
    listed = data(caller.get(f"/tasks/{task_id}/attempts"))["items"]
    assert [a["job_id"] for a in listed] == [f"job:{task_id}:0", redriven["job_id"]]
    assert data(caller.get(f"/tasks/{listed[1]['job_id']}"))["task_id"] == task_id


@pytest.mark.req("A-04", "T-06")
def test_a_timeline_begins_with_who_submitted(caller: ApiClient) -> None:
    def first(task_id: str) -> str:
        return str(data(caller.get(f"/tasks/{task_id}/events"))["items"][0]["actor"])

    made = data(caller.post("/tasks", NOOP), 201)["task_id"]
    assert first(made).startswith("key:boss (")
    [item] = data(caller.post("/tasks/batch", {"tasks": [NOOP]}))["results"]
    assert first(item["task_id"]).startswith("key:boss (")
    assert first(submit("debug:noop").task_id) == "system"
    schedule = schedules.create(name="nightly", cron="@daily", type="debug:noop")
    assert first(schedules.run_now(schedule.pk).task_id) == "schedule:nightly"
    by_hand = data(caller.post(f"/schedules/{schedule.pk}/run"), 201)
    assert first(by_hand["task_id"]).startswith("key:boss (")


@pytest.mark.req("A-03")
@pytest.mark.parametrize(
    "body",
    [
        {**NOOP, "process_in": 1, "process_at": "2030-01-01T00:00:00Z"},
        {**NOOP, "payload": {"n": 1e80}},
        {**NOOP, "tags": ["\u0000"]},
        {**NOOP, "unique_key": ""},
        {**NOOP, "platform": "nowhere"},
        {"type": "debug:sleep", "payload": {"seconds": "long"}},
    ],
)
def test_a_wrong_request_always_gets_details(caller: ApiClient, body: dict[str, Any]) -> None:
    assert isinstance(error(caller.post("/tasks", body), 422)["details"], dict)
    [item] = data(caller.post("/tasks/batch", {"tasks": [body]}))["results"]
    assert isinstance(item["error"]["details"], dict)


@pytest.mark.req("A-03", "T-01")
def test_what_is_not_there_is_called_by_the_name_that_was_sent(caller: ApiClient) -> None:
    for path in ("/tasks/order-17", "/tasks/order-17/attempts", "/status/order-17"):
        assert error(caller.get(path), 404)["details"]["task_id"] == "order-17"
    for path in ("retry", "archive", "cancel"):
        answer = caller.post(f"/queue/tasks/{path}", {"task_id": "job:order-17:3"})
        assert error(answer, 404)["details"]["task_id"] == "job:order-17:3"
    assert error(caller.delete("/queue/tasks/order-17"), 404)["details"]["task_id"] == "order-17"
    batch = data(caller.post("/queue/tasks/cancel/batch", {"task_ids": ["order-17"]}))
    assert batch["results"][0]["error"]["details"]["task_id"] == "order-17"
    tenants.create("acme")
    made = keys.create(name="a", scopes=["admin"], tenant_id=tenants.id_of("acme"))
    acme = ApiClient(key=made.key, client=caller.client)
    assert error(acme.get("/platforms/kling"), 404)["details"]["platform"] == "kling"
    body = {"type": "platform:run", "platform": "kling", "payload": {}}
    assert error(acme.post("/tasks", body), 422)["details"]["platform"] == "kling"


@pytest.mark.req("T-02")
def test_a_key_that_has_expired_already_is_not_made(caller: ApiClient) -> None:
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    asked = {"name": "k", "scopes": ["read"], "expires_at": past}
    assert error(caller.post("/keys", asked), 422)["details"]["field"] == "expires_at"
    with pytest.raises(Invalid):
        keys.create(name="k", scopes=["read"], expires_at=datetime(2020, 1, 1, tzinfo=UTC))


@pytest.mark.req("S-02")
def test_a_retention_may_have_a_fraction_and_is_at_least_that(caller: ApiClient) -> None:
    for asked, kept in ((0.5, 1), (86_400, 86_400), (1.0, 1), (0, 0)):
        made = data(caller.post("/tasks", {**NOOP, "retention": asked}), 201)
        found = row(submit("debug:noop", retention=asked).id, "retention_s")
        assert found == kept
        assert made["task_id"]
    error(caller.post("/tasks", {**NOOP, "retention": -0.5}), 422)


@pytest.mark.req("A-04")
@pytest.mark.parametrize(
    "path", ["/schedules", "/keys", "/accounts", "/tenants", "/platforms", "/queues"]
)
def test_every_list_takes_cursor_and_limit_and_comes_to_all(caller: ApiClient, path: str) -> None:
    for n in range(3):
        schedules.create(name=f"s{n}", cron="@daily", type="debug:noop")
        keys.create(name=f"k{n}", scopes=["read"])
        credits.grant(user_id=n, amount=1, reason="r", actor="t")
        tenants.create(f"t{n}x")
        platforms.create(PlatformSpec(name=f"p{n}", protocol="fal", base_url="https://fal.example"))
    whole = data(caller.get(path))
    seen, cursor = [], ""
    for _ in range(len(whole["items"]) + 1):
        page = data(caller.get(f"{path}?limit=1{cursor}"))
        assert page["estimated_total"] == len(whole["items"])
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    names = [tuple(str(v) for k, v in item.items() if k != "last_used_at") for item in seen]
    assert len(names) == len(set(names)) == len(whole["items"])
    error(caller.get(f"{path}?limit=0"), 422)
    error(caller.get(f"{path}?cursor=!"), 400)


@pytest.mark.req("A-04")
@pytest.mark.parametrize("what", ["attempts", "events", "ticks", "workers", "breakers"])
def test_short_lists_page_too(caller: ApiClient, what: str) -> None:
    task_id = died(caller)
    schedule = schedules.create(name="s", cron="@daily", type="debug:noop")
    for _ in range(2):
        schedules.run_now(schedule.pk)
    paths = {
        "ticks": f"/schedules/{schedule.pk}/ticks",
        "workers": "/workers",
        "breakers": "/breakers",
    }
    path = paths.get(what, f"/tasks/{task_id}/{what}")
    whole = data(caller.get(path))
    first = data(caller.get(f"{path}?limit=1"))
    for page in (first, whole):
        for item in page["items"]:
            item.pop("silent_s", None)  # it is not the same a moment later
    assert first["items"] == whole["items"][:1]
    assert (first["next_cursor"] is None) is (len(whole["items"]) <= 1)


@pytest.mark.req("A-04", "T-01")
def test_the_estimated_total_of_accounts_is_the_tenants_own(caller: ApiClient) -> None:
    tenants.create("acme")
    for user_id in range(3):
        credits.grant(user_id=user_id, amount=1, reason="r", actor="t")
        credits.grant(
            user_id=user_id, amount=1, reason="r", actor="t", tenant_id=tenants.id_of("acme")
        )
    assert data(caller.get("/accounts?limit=1"))["estimated_total"] == 3


@pytest.mark.req("E-02", "A-02")
def test_null_takes_a_platforms_limits_and_price_away_and_silence_keeps_them(
    caller: ApiClient,
) -> None:
    limits = {"max_concurrency": 5, "rate_per_s": 2.5, "price": 7}
    body = {"name": "p", "protocol": "fal", "base_url": "https://fal.example", **limits}
    data(caller.post("/platforms", body), 201)
    assert {k: data(caller.patch("/platforms/p", {}))[k] for k in limits} == limits
    told = data(caller.patch("/platforms/p", {"price": None}))
    assert {k: told[k] for k in limits} == {**limits, "price": None}
    told = data(caller.patch("/platforms/p", {"max_concurrency": None, "rate_per_s": None}))
    assert {k: told[k] for k in limits} == dict.fromkeys(limits)
    data(caller.patch("/platforms/p", {"credential": None, "profile": None}))
    assert Platform.objects.get().profile == "default"
    body = {"name": "q", "protocol": "fal", "base_url": "https://fal.example", "price": None}
    assert data(caller.post("/platforms", body), 201)["price"] is None


@pytest.mark.req("S-10", "T-02")
def test_a_tasks_actor_is_no_part_of_what_it_shows(caller: ApiClient, settings: Settings) -> None:
    made = data(caller.post("/tasks", {**NOOP, "headers": {"x-a": "b"}}), 201)
    hand = Hand()
    hand.settle(hand.claim(), succeeded)
    view = data(caller.get(f"/tasks/{made['task_id']}"))
    assert view["headers"] == {"x-a": "b"}
    assert "boss" not in str(view)
    assert Account.objects.count() == 0
