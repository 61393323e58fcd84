"""Who may call what: keys, scopes, read-only mode, and the audit log of it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.urls import URLPattern

from jobs.models import AuditEntry
from jobs.operations import actions, audits, keys, tenants
from jobs.operations.tasks import submit
from jobs.store import postgres
from queues_admin.api import auth, urls, waiting
from tests.support import api
from tests.support.api import ApiClient, data, error
from tests.support.wait import eventually

NOOP = {"type": "debug:noop"}


@pytest.fixture
def admin(transactional_db: None, redis: Any) -> ApiClient:
    api.forget()
    return api.client("admin", name="boss")


def _wrong_keys() -> list[str]:
    good = keys.create(name="x", scopes=["admin"]).key
    revoked = keys.create(name="y", scopes=["admin"])
    keys.revoke(revoked.key_id)
    expired = keys.create(name="z", scopes=["admin"])
    postgres.query(
        "UPDATE api_key SET expires_at = now() - interval '1 s' WHERE id = %s RETURNING 1",
        [expired.id],
    )
    return [
        "",
        "nonsense",
        "tc_live_x_y",
        good[:-1],
        good + "x",
        revoked.key,
        expired.key,
        "tc_live_\x00_y",
        "ü" * 10,
    ]


@pytest.mark.req("A-01", "T-02", "S06")
def test_every_wrong_key_gets_the_same_401(admin: ApiClient) -> None:
    answers = set()
    for key in _wrong_keys():
        response = ApiClient(key="", client=admin.client).get(
            "/tasks", Authorization=f"Bearer {key}" if key.isascii() else "Bearer %C3"
        )
        body = response.json()
        body["error"].pop("request_id")
        answers.add((response.status_code, str(body), response.headers["WWW-Authenticate"]))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 401


@pytest.mark.req("T-02", "S12")
def test_no_endpoint_answers_without_a_key_or_to_a_session(admin: ApiClient) -> None:
    root = get_user_model().objects.create_superuser("root", "root@example.org")
    client = Client(raise_request_exception=False)
    client.force_login(root)
    for pattern in urls.urlpatterns:
        if not hasattr(pattern.callback, "cls"):
            continue
        path = _concrete(pattern)
        if "/webhooks/" in path:  # signed by the platform instead
            continue
        for method in ("get", "post", "patch", "delete"):
            response = client.generic(method.upper(), path, b"{}", content_type="application/json")
            assert response.status_code in (401, 405), (method, path)


def _concrete(pattern: URLPattern) -> str:
    route = str(pattern.pattern)
    for name in pattern.pattern.converters:
        route = route.replace(f"<str:{name}>", "1")
    return f"/api/v1/{route}"


SCOPES: list[tuple[str, str, Any, str]] = [
    ("POST", "/tasks", NOOP, "submit"),
    ("POST", "/tasks/batch", {"tasks": [NOOP]}, "submit"),
    ("GET", "/tasks", None, "read"),
    ("GET", "/queue/stats", None, "read"),
    ("GET", "/accounts", None, "read"),
    ("POST", "/queue/tasks/cancel", {"task_id": "x"}, "operate"),
    ("POST", "/queue/tasks/retry", {"task_id": "x"}, "operate"),
    ("DELETE", "/queue/tasks/x", None, "operate"),
    ("POST", "/queues/default/pause", None, "operate"),
    ("PATCH", "/queues/default", {"weight": 5}, "operate"),
    ("POST", "/workers/x/stop", None, "operate"),
    ("POST", "/accounts/1", {"grant": 1, "reason": "r"}, "admin"),
    ("GET", "/keys", None, "admin"),
    ("POST", "/keys", {"name": "k", "scopes": ["read"]}, "admin"),
    ("GET", "/audit", None, "admin"),
]


@pytest.mark.req("T-02", "T-06", "S05")
@pytest.mark.parametrize(("method", "path", "body", "scope"), SCOPES)
def test_a_key_can_do_what_its_scopes_say(
    admin: ApiClient, method: str, path: str, body: Any, scope: str
) -> None:
    others = [s for s in keys.SCOPES if s not in (scope, "admin")]
    refused = error(api.client(*others, name="other").call(method, path, body), 403)
    assert refused["details"] == {"scope": scope}
    assert AuditEntry.objects.filter(refused=True).count() == (
        1 if method != "GET" and scope != "submit" else 0
    )
    assert api.client(scope).call(method, path, body).status_code != 403
    assert admin.call(method, path, body).status_code != 403


@pytest.mark.req("T-02", "S04")
def test_a_key_is_shown_once_listed_without_its_secret_and_refused_after_its_revocation(
    admin: ApiClient,
) -> None:
    made = data(admin.post("/keys", {"name": "robot", "scopes": ["read"]}), 201)
    robot = ApiClient(key=made["key"], client=admin.client)
    data(robot.get("/queue/stats"))
    text = admin.get("/keys").content.decode()
    assert made["key_id"] in text
    assert made["key"].rpartition("_")[2] not in text
    data(admin.delete(f"/keys/{made['key_id']}"))
    error(robot.get("/queue/stats"), 401)
    error(admin.delete(f"/keys/{made['key_id']}"), 404)
    error(admin.post("/keys", {"name": "robot", "scopes": ["everything"]}), 422)


@pytest.mark.req("T-02", "S05")
def test_another_process_refuses_a_revoked_key_within_five_seconds(admin: ApiClient) -> None:
    assert auth._KEPT_S < 5
    made = keys.create(name="k", scopes=["read"])
    data(ApiClient(key=made.key, client=admin.client).get("/queue/stats"))
    postgres.query(
        "UPDATE api_key SET revoked_at = now() WHERE key_id = %s RETURNING 1", [made.key_id]
    )
    for digest, (_, caller) in list(auth._known.items()):  # the kept answer's time is over
        auth._known[digest] = (0.0, caller)
    error(ApiClient(key=made.key, client=admin.client).get("/queue/stats"), 401)


@pytest.mark.req("A-06")
def test_read_only_refuses_changes_and_lets_submits_pass(admin: ApiClient, settings: Any) -> None:
    settings.ASYNQ_READONLY = True
    made = data(admin.post("/tasks", NOOP), 201)
    data(admin.get(f"/tasks/{made['task_id']}"))
    for method, path, body, scope in SCOPES:
        if method != "GET" and scope != "submit":
            assert error(admin.call(method, path, body), 403)["details"] == {"readonly": True}, path
    assert AuditEntry.objects.filter(refused=True).count() == 8


@pytest.mark.req("T-06")
def test_each_change_leaves_one_audit_entry_and_a_submit_none(admin: ApiClient) -> None:
    made = data(admin.post("/tasks", {**NOOP, "process_in": 60}), 201)
    data(admin.post("/queue/tasks/cancel", {"task_id": made["task_id"], "reason": "no need"}))
    data(admin.post("/queues/low/pause", {"reason": "night"}))
    data(admin.post("/accounts/7", {"grant": 5, "reason": "gift"}))
    entries = data(admin.get("/audit"))["items"]
    assert [(e["action"], e["target"], e["reason"]) for e in entries] == [
        ("account.grant", "account:7", "gift"),
        ("queue.pause", "low", "night"),
        ("task.cancel", made["task_id"], "no need"),
    ]
    assert {e["actor"].partition(" (")[0] for e in entries} == {"key:boss"}
    assert {e["address"] for e in entries} == {"127.0.0.1"}
    assert [e["action"] for e in data(admin.get("/audit?action=queue.pause"))["items"]] == [
        "queue.pause"
    ]


@pytest.mark.req("T-06")
def test_a_change_that_cannot_be_audited_does_not_happen(
    admin: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("no audit")

    monkeypatch.setattr(audits, "record", broken)
    error(admin.post("/queues/low/pause"), 500)
    assert postgres.query("SELECT paused FROM queue WHERE name = 'low'") == [(False,)]


@pytest.mark.req("A-03", "S17")
def test_an_unexpected_error_shows_nothing_of_its_inside(
    admin: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(audits, "record", broken)
    response = admin.post("/queues/low/pause")
    assert error(response, 500)["code"] == "internal"
    assert b"secret" not in response.content


@pytest.mark.req("T-01")
def test_another_tenants_key_finds_nothing_by_any_id(admin: ApiClient) -> None:
    task_id = data(admin.post("/tasks", {**NOOP, "process_in": 60}), 201)["task_id"]
    data(admin.post("/accounts/7", {"grant": 5, "reason": "r"}))
    every = {"name": "s", "cron": "@daily", "type": "debug:noop"}
    schedule_id = data(admin.post("/schedules", every), 201)["id"]
    key_id = data(admin.get("/keys"))["items"][0]["key_id"]
    values = {"task_id": task_id, "user_id": "7", "schedule_id": str(schedule_id), "key_id": key_id}
    stranger = ApiClient(
        key=keys.create(name="s", scopes=["admin"], tenant_id=tenants.create("other").pk).key,
        client=admin.client,
    )
    tried = 0
    for pattern in urls.urlpatterns:
        [name] = list(pattern.pattern.converters) or [""]
        if name not in values or not hasattr(pattern.callback, "cls"):
            continue
        path = "/" + str(pattern.pattern).replace(f"<str:{name}>", values[name])
        for method in ("GET", "PATCH", "POST", "DELETE"):
            if hasattr(pattern.callback.cls, method.lower()) and (method, name) != (
                "POST",
                "user_id",
            ):
                assert stranger.call(method, path, {}).status_code == 404, (method, path)
                tried += 1
    assert tried >= 14
    for path in ("/queue/tasks/cancel", "/queue/tasks/retry", "/queue/tasks/archive"):
        error(stranger.post(path, {"task_id": task_id}), 404)
    for path in ("/tasks", "/accounts", "/schedules"):
        assert data(stranger.get(path))["items"] == []
    assert data(admin.get(f"/tasks/{task_id}"))["state"] == "scheduled"


@pytest.mark.req("S05", "T-02")
def test_a_key_that_is_revoked_while_it_waits_for_a_tasks_end_hears_nothing_of_it(
    admin: ApiClient,
) -> None:
    task = submit("debug:noop", process_in=600)
    waiter = api.client("read", name="leaked")
    with ThreadPoolExecutor(1) as pool:

        def wait() -> int:
            try:
                return int(waiter.get(f"/tasks/{task.task_id}?wait=20").status_code)
            finally:
                connection.close()

        answered = pool.submit(wait)
        eventually(lambda: len(waiting._waiters) == 1)
        key_id = waiter.key.split("_")[2]
        data(admin.delete(f"/keys/{key_id}"))
        actions.cancel(task.id, actor="test")
        assert answered.result(30) == 401
