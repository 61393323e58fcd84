"""The operator reads and acts on any tenant's tasks, by naming it; a tenant's own key never does (T-01)."""

import pytest
from django.core.management.base import CommandError
from django.test import Client
from django.utils import timezone

from jobs.models import Account, AuditEntry, Task
from jobs.operations import credits, keys, tenants
from jobs.operations.tasks import submit
from tests.support import api
from tests.support.api import ApiClient, data, error
from tests.support.cli import audit, run, run_json
from tests.support.engine import Hand, dead, row

LATER = {"type": "debug:echo", "process_in": 600, "payload": {"word": "theirs"}}


@pytest.fixture
def house(engine: None) -> ApiClient:
    api.forget()
    return api.client("admin", name="boss")


@pytest.fixture
def acme(house: ApiClient) -> ApiClient:
    return _of(tenants.create("acme").pk, "admin")


def _of(tenant_id: int, *scopes: str) -> ApiClient:
    made = keys.create(name="own", scopes=list(scopes), tenant_id=tenant_id)
    return ApiClient(key=made.key, client=Client(raise_request_exception=False))


def _task(client: ApiClient, **fields: object) -> str:
    return str(data(client.post("/tasks", {**LATER, **fields}), 201)["task_id"])


@pytest.mark.req("T-01", "A-01")
def test_an_admin_of_the_default_tenant_reads_a_tenants_tasks_by_naming_it(
    house: ApiClient, acme: ApiClient
) -> None:
    task = _task(acme, task_id="order-1")
    for path in (f"/tasks/{task}", f"/status/{task}", "/tasks/order-1"):
        assert data(house.get(f"{path}?tenant=acme"))["payload"] == {"word": "theirs"}
        error(house.get(path), 404)
    for path in ("/tasks", "/queue/tasks?queue=default&state=scheduled"):
        sign = "&" if "?" in path else "?"
        named = data(house.get(f"{path}{sign}tenant=acme"))
        assert [item["task_id"] for item in named["items"]] == [task]
        assert data(house.get(path))["items"] == []
    assert data(house.get(f"/tasks/{task}/events?tenant=acme"))["items"][0]["kind"] == "submitted"
    assert data(house.get(f"/tasks/{task}/attempts?tenant=acme"))["items"] == []
    error(house.get("/tasks?tenant=nobody"), 404)
    assert data(house.get("/tasks?tenant=default"))["items"] == []


@pytest.mark.req("T-01", "A-01", "C-03", "T-06")
def test_an_admin_of_the_default_tenant_acts_on_a_tenants_tasks_by_naming_it(
    house: ApiClient, acme: ApiClient
) -> None:
    tenant_id = tenants.id_of("acme")
    credits.grant(user_id=7, amount=100, reason="x", actor="test", tenant_id=tenant_id)
    task, other = _task(acme, user_id=7, credits=40), _task(acme)
    data(house.patch(f"/tasks/{other}?tenant=acme", {"payload": {"word": "changed"}}))
    assert data(acme.get(f"/tasks/{other}"))["payload"] == {"word": "changed"}
    named = {"task_id": other, "queue": "default"}
    assert data(house.post("/queue/tasks/archive?tenant=acme", named))["state"] == "archived"
    assert data(house.post("/queue/tasks/retry?tenant=acme", named))["state"] == "pending"
    told = data(house.post("/queue/tasks/cancel?tenant=acme", {"task_id": task}))
    assert (told["credits"], told["refunded"]) == (40, True)
    assert Account.objects.get(user_id=7, tenant_id=tenant_id).balance == 100
    batch = data(house.post("/queue/tasks/cancel/batch?tenant=acme", {"task_ids": [other]}))
    assert batch["cancelled"] == 1
    data(house.delete(f"/queue/tasks/{other}?tenant=acme"))
    assert not Task.objects.filter(tenant_id=tenant_id).exclude(state=6).exists()
    assert set(AuditEntry.objects.exclude(action="").values_list("tenant_id", flat=True)) == {1}


@pytest.mark.req("T-01", "S01")
def test_nobody_else_names_a_tenant_not_even_its_own_key(house: ApiClient, acme: ApiClient) -> None:
    task = _task(acme)
    other = _of(tenants.create("other").pk, "admin")
    own, reader = _of(tenants.id_of("acme"), "admin"), api.client("read", "operate")
    for client in (other, own, reader):
        for slug in ("acme", "default", "nobody"):
            for path in (f"/tasks/{task}", "/tasks", "/queue/tasks", f"/tasks/{task}/events"):
                error(client.get(f"{path}?tenant={slug}"), 403)
            named = {"task_id": task}
            error(client.post(f"/queue/tasks/cancel?tenant={slug}", named), 403)
            error(client.delete(f"/queue/tasks/{task}?tenant={slug}"), 403)
    assert data(own.get(f"/tasks/{task}"))["state"] == "scheduled"


@pytest.mark.req("T-01", "A-04")
def test_an_idempotency_key_for_one_tenant_is_no_answer_for_another(
    house: ApiClient, acme: ApiClient
) -> None:
    tenants.create("other")
    body, key = {"task_ids": [_task(acme)]}, {"Idempotency_Key": "k"}
    assert data(house.post("/queue/tasks/cancel/batch?tenant=acme", body, **key))["cancelled"] == 1
    error(house.post("/queue/tasks/cancel/batch?tenant=other", body, **key), 422)


@pytest.mark.req("T-01", "D-05", "T-06")
def test_the_command_line_sees_and_moves_a_tenants_tasks_with_tenant(acme: ApiClient) -> None:
    task = _task(acme)
    assert run_json("tasks", "list")["items"] == []
    found = run_json("tasks", "list", "--tenant", "acme")["items"]
    assert [item["task_id"] for item in found] == [task]
    assert "theirs" in run("tasks", "inspect", task, "--tenant", "acme")
    with pytest.raises(CommandError, match="no such task"):
        run("tasks", "inspect", task)
    for verb, state in (("archive", "archived"), ("run", "pending")):
        assert run_json("tasks", verb, task, "--tenant", "acme")["results"][0]["state"] == state
    assert run_json("tasks", "cancel", task, "--tenant", "acme", "--yes")["done"] == 1
    made = run_json("tasks", "submit", "debug:noop", "--tenant", "acme", "--process-in", "60")
    assert made["queue"] == "acme:default"
    run("tasks", "delete", made["task_id"], "--tenant", "acme", "--yes")
    with pytest.raises(CommandError, match="no such tenant"):
        run("tasks", "list", "--tenant", "nobody")
    assert [action for action, _, _ in audit()][-1] == "task.delete"


@pytest.mark.req("T-01", "D-05")
def test_the_command_line_names_a_tenants_queues_with_tenant(acme: ApiClient) -> None:
    listed = run_json("queues", "list", "--tenant", "acme")["items"]
    assert {queue["queue"].partition(":")[0] for queue in listed} == {"acme"}
    assert set(run_json("queues", "stats", "--tenant", "acme")) == {q["queue"] for q in listed}
    run("queues", "pause", "low", "--tenant", "acme")
    assert row_paused("acme:low") and not row_paused("low")
    run("queues", "resume", "low", "--tenant", "acme")
    run("queues", "configure", "low", "--tenant", "acme", "--capacity", "9")
    _task(acme, queue="low")
    told = run_json("queues", "empty", "low", "--tenant", "acme", "--yes")
    assert told["results"][0]["deleted"] == 1


@pytest.mark.req("T-01", "D-05")
def test_dead_letters_of_one_tenant_are_emptied_from_the_command_line(acme: ApiClient) -> None:
    hand, tenant_id = Hand(), tenants.id_of("acme")
    mine = submit("debug:noop", {})
    theirs = submit("debug:noop", {}, tenant_id=tenant_id)
    hand.settle(hand.claim(), dead)
    assert [row(t.id, "state") for t in (mine, theirs)] == [5, 5]
    run("queues", "empty", "dead_letter", "--tenant", "acme", "--yes")
    assert [row(t.id, "state") for t in (mine, theirs)] == [5, None]


def row_paused(name: str) -> bool:
    return bool(run_json("queues", "stats")[name]["paused"])


def _granted(tenant_id: int, user_id: int, amount: int) -> None:
    credits.grant(user_id=user_id, amount=amount, reason="x", actor="test", tenant_id=tenant_id)


@pytest.mark.req("T-01", "A-02", "C-01", "T-06")
def test_an_admin_of_the_default_tenant_reads_and_grants_on_a_tenants_accounts_by_naming_it(
    house: ApiClient, acme: ApiClient
) -> None:
    _granted(tenants.id_of("acme"), 7, 100)
    _granted(1, 7, 5)
    grant = {"grant": 20, "reason": "for them"}
    assert data(house.post("/accounts/7?tenant=acme", grant))["balance"] == 120
    assert data(house.get("/accounts/7?tenant=acme"))["balance"] == 120
    assert data(house.get("/accounts/7"))["balance"] == 5
    assert [a["balance"] for a in data(house.get("/accounts?tenant=acme"))["items"]] == [120]
    entries = data(house.get("/accounts/7/entries?tenant=acme"))["items"]
    assert [entry["amount"] for entry in entries] == [20, 100]
    noted = AuditEntry.objects.get(action="account.grant")
    assert (noted.tenant_id, noted.target) == (1, "account:7")
    assert noted.after is not None and noted.after["tenant"] == "acme"
    error(house.get("/accounts?tenant=nobody"), 404)
    error(house.post("/accounts/7?tenant=nobody", grant), 404)


@pytest.mark.req("T-01", "A-02", "D-06")
def test_an_admin_of_the_default_tenant_keeps_a_tenants_schedules_by_naming_it(
    house: ApiClient, acme: ApiClient
) -> None:
    body = {"name": "nightly", "cron": "@daily", "type": "debug:noop"}
    made = data(house.post("/schedules?tenant=acme", body), 201)
    path = f"/schedules/{made['id']}"
    assert data(acme.get(path))["name"] == "nightly"
    assert data(house.get("/schedules"))["items"] == []
    for method, tail in (("GET", ""), ("GET", "/ticks"), ("POST", "/run"), ("DELETE", "")):
        error(house.call(method, f"{path}{tail}", None), 404)
    assert data(house.patch(f"{path}?tenant=acme", {"cron": "@hourly"}))["cron"] == "@hourly"
    assert data(house.post(f"{path}/pause?tenant=acme"))["enabled"] is False
    assert data(house.post(f"{path}/resume?tenant=acme"))["enabled"] is True
    task = data(house.post(f"{path}/run?tenant=acme"), 201)
    assert task["queue"] == "acme:default"
    assert len(data(house.get(f"{path}/ticks?tenant=acme"))["items"]) == 1
    data(house.delete(f"{path}?tenant=acme"))
    assert data(acme.get("/schedules"))["items"] == []
    houses_own = {"name": "syncs", "cron": "@daily", "type": "cleanup:expired"}
    error(house.post("/schedules?tenant=acme", houses_own), 422)


@pytest.mark.req("T-01", "A-05")
def test_an_admin_of_the_default_tenant_plans_for_a_tenant_by_naming_it(
    house: ApiClient, acme: ApiClient
) -> None:
    theirs, mine = _task(acme, business_id="b"), _task(house, business_id="b")
    wanted = {"action": "cancel", "filter": {"business_id": "b"}, "reason": "x"}
    made = data(house.post("/plans?tenant=acme", wanted), 201)
    path = f"/plans/{made['id']}"
    items = data(house.get(f"{path}/items?tenant=acme"))["items"]
    assert [item["task_id"] for item in items] == [theirs] != [mine]
    assert [p["id"] for p in data(house.get("/plans?tenant=acme"))["items"]] == [made["id"]]
    assert data(house.get("/plans"))["items"] == []
    for method, tail in (("GET", ""), ("GET", "/items"), ("POST", "/execute"), ("POST", "/abort")):
        error(house.call(method, f"{path}{tail}", None), 404)
    for verb, state in (("execute", "running"), ("pause", "paused"), ("resume", "running")):
        assert data(house.post(f"{path}/{verb}?tenant=acme"))["state"] == state
    assert data(house.post(f"{path}/abort?tenant=acme"))["state"] == "aborted"
    assert data(acme.get(path))["state"] == "aborted"


@pytest.mark.req("T-01", "S01")
def test_nobody_else_names_a_tenant_for_accounts_schedules_or_plans(
    house: ApiClient, acme: ApiClient
) -> None:
    other = _of(tenants.create("other").pk, "admin")
    own, reader = _of(tenants.id_of("acme"), "admin"), api.client("read", "operate")
    _granted(tenants.id_of("acme"), 7, 100)
    schedule = {"name": "n", "cron": "@daily", "type": "debug:noop"}
    plan = {"action": "cancel", "filter": {"user_id": 7}}
    for client in (other, own, reader):
        for path in ("/accounts", "/accounts/7", "/accounts/7/entries", "/schedules", "/plans"):
            error(client.get(f"{path}?tenant=acme"), 403)
        for path, body in (
            ("/accounts/7", {"grant": 1, "reason": "x"}),
            ("/schedules", schedule),
            ("/plans", plan),
        ):
            error(client.post(f"{path}?tenant=acme", body), 403)
    assert data(own.get("/accounts/7"))["balance"] == 100
    assert data(own.get("/schedules"))["items"] == data(own.get("/plans"))["items"] == []


@pytest.mark.req("T-01", "D-05", "C-03")
def test_the_command_line_writes_a_tenants_statement_with_tenant(acme: ApiClient) -> None:
    _granted(tenants.id_of("acme"), 7, 100)
    _granted(1, 8, 5)
    month = timezone.now().strftime("%Y-%m")
    for which in ([], ["--user", "7"]):
        asked = ["ledger", "statement", "--month", month, "--tenant", "acme", *which]
        lines = run_json(*asked)["lines"]
        assert [(x["user_id"], x["balance"]) for x in lines] == [(7, 0), (7, 100), (7, 100)]
    with pytest.raises(CommandError, match="no such tenant"):
        run("ledger", "statement", "--month", month, "--tenant", "nobody")
    with pytest.raises(CommandError, match="no account"):
        run("ledger", "statement", "--month", month, "--user", "7")
