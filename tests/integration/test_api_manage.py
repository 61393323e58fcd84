"""Queues, workers, platforms, accounts: the endpoints beyond the guide's nine."""

from typing import Any

import pytest

from jobs.domain.errors import Invalid
from jobs.models import CreditEntry, Platform
from jobs.operations import audits, breakers, credits, keys, tenants, workers
from jobs.store import postgres
from tests.support import api
from tests.support.api import ApiClient, data, error
from tests.support.engine import Hand, balance, dead


@pytest.fixture
def caller(transactional_db: None, redis: Any) -> ApiClient:
    api.forget()
    return api.client("admin")


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


NEW = {
    "name": "my-replicate",
    "protocol": "replicate",
    "base_url": "https://example.org",
    "credential": "r8_very",
}


@pytest.mark.req("A-02", "E-05")
def test_a_platforms_secrets_are_never_shown_again(caller: ApiClient) -> None:
    made = caller.post("/platforms", {**NEW, "webhook_secret": "whsec_very"})
    shown = data(made, 201)
    assert (shown["has_credential"], shown["has_webhook_secret"]) == (True, True)
    assert shown["breaker"]["state"] == "CLOSED"
    error(caller.post("/platforms", NEW), 409)
    data(caller.patch("/platforms/my-replicate", {"time_limit": 60, "credential": "r8_other_very"}))
    for path in ("/platforms", "/platforms/my-replicate", "/audit"):
        assert b"very" not in caller.get(path).content
    assert data(caller.get("/platforms/my-replicate"))["time_limit"] == 60
    error(caller.get("/platforms/none"), 404)
    error(caller.patch("/platforms/none", {}), 404)
    error(caller.post("/platforms", {**NEW, "name": "x", "protocol": "smtp"}), 422)
    error(caller.post("/platforms", {**NEW, "name": "Not A Name"}), 422)


@pytest.mark.req("T-05")
def test_private_addresses_for_a_platform_need_scope_admin(caller: ApiClient) -> None:
    asked = {**NEW, "allow_private": True}
    assert (
        error(api.client("operate", "read").post("/platforms", asked), 403)["code"] == "forbidden"
    )
    assert data(caller.post("/platforms", asked), 201)["allow_private"] is True


@pytest.mark.req("E-02", "A-03")
def test_all_that_is_wrong_with_a_platform_is_said_in_one_answer_without_its_secrets(
    caller: ApiClient,
) -> None:
    wrong = {
        **NEW,
        "credential": "r8_s3cret\n",
        "webhook_secret": "whsec_n0t base64",
        "base_url": "https://user:pw@example.org",
        "profile": "hasty",
        "options": {"pool_first_s": 1},
    }
    answer = caller.post("/platforms", wrong)
    faults = error(answer, 422)["details"]["faults"]
    assert sorted(fault["field"] for fault in faults) == sorted(
        ["base_url", "credential", "options", "profile", "webhook_secret"]
    )
    assert all(fault["message"] for fault in faults)
    for secret in (b"s3cret", b"n0t", b":pw"):
        assert secret not in answer.content
    one = error(caller.post("/platforms", {**NEW, "options": {"pool_first_s": 1}}), 422)
    assert one["details"]["field"] == "options"
    error(caller.get("/platforms/my-replicate"), 404)
    error(caller.post("/platforms", {**NEW, "name": "p\n"}), 422)


@pytest.mark.req("E-02")
def test_what_was_stored_before_is_judged_where_a_change_touches_it(caller: ApiClient) -> None:
    off = {"name": "g", "protocol": "generic", "base_url": "https://example.org", "enabled": False}
    data(caller.post("/platforms", off), 201)
    Platform.objects.filter(name="g").update(options={"colour": "red"})
    data(caller.patch("/platforms/g", {"time_limit": 60}))
    refused = error(caller.patch("/platforms/g", {"enabled": True}), 422)["details"]["faults"]
    assert len(refused) == 3
    good = {"submit": {"url": "/jobs"}, "poll": {"url": "/jobs/{id}"}}
    data(caller.patch("/platforms/g", {"enabled": True, "options": good}))
    data(caller.patch("/platforms/g", {"credential": "one-part"}))
    error(caller.patch("/platforms/g", {"protocol": "kling", "options": {}}), 422)
    data(caller.patch("/platforms/g", {"protocol": "kling", "options": {}, "credential": "a:b"}))


@pytest.mark.req("E-05")
def test_a_breaker_can_be_forced_and_released(caller: ApiClient) -> None:
    data(caller.post("/platforms", NEW), 201)
    forced = data(
        caller.post("/platforms/my-replicate/breaker", {"state": "OPEN", "reason": "outage"})
    )
    assert forced["forced"] == "OPEN"
    assert data(caller.get("/platforms/my-replicate/breaker"))["forced"] == "OPEN"
    released = data(caller.post("/platforms/my-replicate/breaker", {"state": None}))
    assert released["forced"] is None
    error(caller.post("/platforms/my-replicate/breaker", {"state": "BROKEN"}), 422)
    error(caller.get("/platforms/none/breaker"), 404)


@pytest.mark.req("E-05", "A-02")
def test_a_service_breaker_can_be_forced_before_any_request_has_asked_it(caller: ApiClient) -> None:
    data(caller.post("/platforms", NEW), 201)
    names = [item["name"] for item in data(caller.get("/breakers"))["items"]]
    assert names == ["platform:my-replicate", "service:example.org"]
    asked = {"state": "OPEN", "for": 600, "reason": "their maintenance"}
    forced = data(caller.post("/breakers/service:example.org", asked))
    assert (forced["forced"], forced["forced_reason"]) == ("OPEN", "their maintenance")
    assert forced["forced_by"].startswith("key:")
    shown = data(caller.get("/platforms/my-replicate"))
    assert shown["service_breaker"]["forced"] == "OPEN"
    assert 590 < shown["service_breaker"]["wait_s"] <= 600
    error(caller.post("/breakers/service:nobody.example", asked), 404)


@pytest.mark.req("E-05", "T-01")
def test_a_tenant_reads_why_its_service_is_held_but_not_who_of_the_house_did_it(
    caller: ApiClient,
) -> None:
    tenants.create("acme")
    made = keys.create(name="k", scopes=["admin"], tenant_id=tenants.id_of("acme"))
    theirs = ApiClient(key=made.key, client=caller.client)
    data(theirs.post("/platforms", NEW), 201)
    breakers.force("service:acme@example.org", "OPEN", by="user:ann", reason="outage")
    shown = data(theirs.get("/platforms/my-replicate"))["service_breaker"]
    assert (shown["forced_by"], shown["forced_reason"]) == ("", "outage")
    error(theirs.post("/breakers/service:acme@example.org", {"state": None}), 404)


@pytest.mark.req("C-01", "A-02")
def test_an_account_is_opened_by_a_grant_and_shows_its_ledger(caller: ApiClient) -> None:
    error(caller.get("/accounts/7"), 404)
    assert data(caller.post("/accounts/7", {"grant": 1000, "reason": "gift"}))["balance"] == 1000
    task_id = _submit(caller, user_id=7, credits=300)
    assert data(caller.get("/accounts/7")) == {"user_id": 7, "balance": 700}
    first = data(caller.get("/accounts/7/entries?limit=1"))
    assert first["estimated_total"] == 2
    [charge] = first["items"]
    assert (charge["kind"], charge["amount"], charge["task_id"]) == ("charge", -300, task_id)
    [grant] = data(caller.get(f"/accounts/7/entries?cursor={first['next_cursor']}"))["items"]
    assert (grant["kind"], grant["amount"], grant["reason"], grant["task_id"]) == (
        "grant",
        1000,
        "gift",
        None,
    )
    assert {"id", "kind", "amount", "task_id", "reason", "created_at"} <= set(grant)
    assert data(caller.get("/accounts"))["items"] == [{"user_id": 7, "balance": 700}]
    for bad in (0, -5, 2**60, "5", True, None):
        error(caller.post("/accounts/7", {"grant": bad, "reason": "r"}), 422)
    error(caller.post("/accounts/7", {"reason": "r"}), 422)
    error(caller.get("/accounts/seven"), 404)
    error(caller.get("/accounts/99999999999999999999"), 404)


@pytest.mark.req("C-01", "A-02", "T-06")
@pytest.mark.parametrize(
    "given", [{}, {"reason": ""}, {"reason": " \t\n"}, {"reason": None}], ids=str
)
def test_a_grant_without_a_reason_is_refused_and_gives_nothing(
    caller: ApiClient, given: dict[str, Any]
) -> None:
    said = error(caller.post("/accounts/7", {"grant": 5, **given}), 422)
    assert "reason" in str(said)
    error(caller.get("/accounts/7"), 404)
    with pytest.raises(Invalid, match="reason"):
        credits.grant(user_id=7, amount=5, reason=str(given.get("reason") or ""), actor="test")
    assert CreditEntry.objects.count() == 0


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


@pytest.mark.req("AC55", "A-02")
def test_a_queues_history_is_as_long_as_asked_for(caller: ApiClient) -> None:
    found = data(caller.get("/queues/default/history?days=3"))
    assert [(d["processed"], d["failed"]) for d in found["items"]] == [(0, 0)] * 3
    assert len(data(caller.get("/queues/default/history"))["items"]) == 7
    for wrong in ("0", "-1", "91"):
        error(caller.get(f"/queues/default/history?days={wrong}"), 422)
    error(caller.get("/queues/nowhere/history"), 404)
