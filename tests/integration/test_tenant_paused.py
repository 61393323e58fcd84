"""The operator's pause of a tenant: it stands with the tenant, holds every queue of it, and only operators lift it."""

import pytest
from django.test import Client

from jobs.domain import ids
from jobs.lifecycle.why import why_not_running
from jobs.models import Queue, Tenant
from jobs.operations import duties, keys, queues, removing, runs, tasks, tenants, tending, tickets
from jobs.selectors import tasks as reading
from jobs.store import catalog
from jobs.store import keys as redis_keys
from jobs.store import redis as store
from queues_admin.admin import task_why
from tests.support import api
from tests.support.api import ApiClient, data, error
from tests.support.cli import audit, run, run_json
from tests.support.engine import Hand


@pytest.fixture
def admin(engine: None) -> ApiClient:
    api.forget()
    return api.client("admin", name="boss")


@pytest.fixture
def acme(engine: None) -> ApiClient:
    made = tenants.create("acme")
    key = keys.create(name="own", scopes=["admin"], tenant_id=made.pk).key
    return ApiClient(key=key, client=Client(raise_request_exception=False))


@pytest.mark.req("T-01", "Q-08", "T-06")
def test_a_tenants_key_cannot_lift_the_operators_pause_of_its_tenant(
    admin: ApiClient, acme: ApiClient
) -> None:
    told = data(admin.post("/tenants/acme/pause", {"reason": "unpaid bill"}))
    assert told["paused_at"] is not None
    assert (told["paused_by"][:8], told["paused_reason"]) == ("key:boss", "unpaid bill")
    for name in ("default", "low"):
        error(acme.post(f"/queues/{name}/resume"), 409)
    queue = data(acme.get("/queues/default"))
    assert (queue["paused"], queue["tenant_paused"]) == (True, True)
    assert queue["paused_reason"] == "unpaid bill"
    error(acme.post("/tenants/acme/resume"), 404)
    error(acme.post("/tenants/acme/pause"), 404)
    error(api.client("operate").post("/tenants/acme/resume"), 403)
    error(admin.post("/tenants/acme/pause"), 409)
    assert data(admin.post("/tenants/acme/resume"))["paused_at"] is None
    assert data(acme.get("/queues/default"))["paused"] is False
    error(admin.post("/tenants/acme/resume"), 409)
    error(admin.post("/tenants/nobody/pause"), 404)
    error(admin.post("/tenants/default/pause"), 422)


@pytest.mark.req("T-01", "Q-08")
def test_nothing_of_a_paused_tenant_is_claimed_whatever_its_keys_do(
    admin: ApiClient, acme: ApiClient
) -> None:
    hand = Hand()
    held = [data(acme.post("/tasks", {"type": "debug:noop"}), 201)["task_id"]]
    tenants.pause("acme", actor="boss", reason="abuse")
    data(acme.post("/queues/default/pause"))
    data(acme.post("/queues/default/resume"))
    held.append(data(acme.post("/tasks", {"type": "debug:noop"}), 201)["task_id"])
    uuids = [str(ids.parse_id(task_id)) for task_id in held]
    assert runs.claim(hand.id, uuids) == []
    assert sorted(runs.missing(uuids).paused) == sorted(uuids)
    tenants.resume("acme")
    assert len(runs.claim(hand.id, uuids)) == 2


@pytest.mark.req("T-01", "Q-08")
def test_workers_do_not_fetch_a_paused_tenants_tickets(acme: ApiClient) -> None:
    hand, ring = Hand(), redis_keys.ring("default")
    data(acme.post("/tasks", {"type": "debug:noop"}), 201)
    while duties.fold():
        pass

    def fetched() -> int:
        tending.tend()
        found = store.fetch(hand.id, [ring], want=5, epoch=tickets.epoch(), was_idle=False)
        return sum(len(batch.ids) for batch in found)

    tenants.pause("acme", actor="boss")
    assert fetched() == 0
    tenants.resume("acme")
    assert fetched() == 1


@pytest.mark.req("T-01", "Q-08")
def test_a_queue_of_a_paused_tenant_that_was_deleted_comes_back_paused(acme: ApiClient) -> None:
    removing.remove("acme:low", force=False, actor="boss")
    tenants.pause("acme", actor="boss", reason="abuse")
    data(acme.post("/tasks", {"type": "debug:noop", "queue": "low"}), 201)
    row = catalog.queues(fresh=True).by_id[Queue.objects.get(name="acme:low").pk]
    assert row.paused


@pytest.mark.req("T-01", "Q-08")
def test_queues_that_were_paused_themselves_stay_so_after_their_tenant_goes_on(
    acme: ApiClient,
) -> None:
    queues.pause("acme:low", reason="own")
    tenants.pause("acme", actor="boss", reason="abuse")
    assert data(acme.get("/queues/low"))["paused_reason"] == "abuse"
    tenants.resume("acme")
    low = data(acme.get("/queues/low"))
    assert (low["paused"], low["tenant_paused"], low["paused_reason"]) == (True, False, "own")


@pytest.mark.req("V-04", "T-01")
def test_the_task_page_says_that_its_tenant_is_paused(acme: ApiClient) -> None:
    tenant_id = Tenant.objects.get(slug="acme").pk
    task = tasks.submit("debug:noop", tenant_id=tenant_id)
    tenants.pause("acme", actor="boss", reason="unpaid bill")
    [reason] = why_not_running(task_why._facts(task.id, reading.get(task.id, tenant_id)))[:1]
    assert "paused with its tenant: unpaid bill" in reason.text


@pytest.mark.req("D-05", "T-06")
def test_the_command_line_pauses_a_tenant_and_shows_who_and_why(acme: ApiClient) -> None:
    told = run_json("tenants", "pause", "acme", "--reason", "abuse")
    assert told["paused_by"].startswith("cli:")
    assert "abuse" in run("tenants", "list")
    assert "abuse" in run("tenants", "show", "acme")
    assert run_json("tenants", "resume", "acme")["paused_at"] is None
    assert [action for action, _, _ in audit()] == ["tenant.pause", "tenant.resume"]
