"""Deleting a queue, and what brings it back (AC54, AC10)."""

from typing import Any

import pytest
from django.core.management import CommandError
from django.test import Client

from jobs.domain.errors import Conflict, UnknownQueue
from jobs.models import AuditEntry
from jobs.operations import actions, credits, duties, removing, runs, tasks, tenants, tending
from jobs.selectors import queues as reading
from jobs.store import catalog, postgres
from tests.support import api
from tests.support.api import ApiClient, data, error
from tests.support.cli import audit, run, run_json
from tests.support.database import other_connection
from tests.support.engine import Hand, balance, dead, entries, row

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.req("AC54", "Q-08")]


@pytest.fixture
def acme(engine: None) -> int:
    return tenants.create("acme").pk


@pytest.fixture
def admin(engine: None) -> ApiClient:
    api.forget()
    return api.client("admin", name="boss")


def names() -> set[str]:
    return {view.queue for view in reading.listing()}


def test_an_empty_queue_is_deleted_and_is_unknown_from_then_on(acme: int, admin: ApiClient) -> None:
    assert data(admin.delete("/queues/acme:low"))["queue"] == "acme:low"
    assert "acme:low" not in names()
    assert "acme:low" not in data(admin.get("/tenants/acme"))["queues"]
    error(admin.get("/queues/acme:low"), 404)
    error(admin.delete("/queues/acme:low"), 404)
    error(admin.delete("/queues/nothing"), 404)
    audit = data(admin.get("/audit"))["items"]
    assert [(e["action"], e["target"]) for e in audit if e["action"] == "queue.delete"][-1] == (
        "queue.delete",
        "acme:low",
    )


def test_a_queue_of_the_contract_is_not_deleted(acme: int, admin: ApiClient) -> None:
    for name in ("default", "dead_letter"):
        error(admin.delete(f"/queues/{name}?force=true"), 409)
    assert {"default", "dead_letter"} < names()


def test_a_queue_that_is_not_empty_is_refused_and_by_force_its_tasks_are_refunded(
    acme: int, admin: ApiClient
) -> None:
    credits.grant(user_id=7, amount=100, reason="test", actor="test", tenant_id=acme)
    options: dict[str, Any] = {"queue": "low", "tenant_id": acme, "user_id": 7, "credits": 5}
    made = [
        tasks.submit("debug:noop", **options),
        tasks.submit("debug:noop", process_in=60, **options),
        tasks.submit("debug:noop", **options),
    ]
    refused = error(admin.delete("/queues/acme:low"), 409)
    assert refused["details"]["states"] == ["pending", "scheduled"]
    assert (balance(7), reading.get("acme:low").paused) == (85, False)  # type: ignore[union-attr]
    gone = data(admin.delete("/queues/acme:low?force=true&reason=closed"))
    assert (gone["deleted"], gone["refunded_credits"], balance(7)) == (3, 15, 100)
    assert [row(task.id, "state") for task in made] == [None] * 3
    assert all([n for _, n in entries(task.id)] == [-5, 5] for task in made)
    assert "acme:low" not in names()


def test_a_queue_with_a_running_task_is_refused_even_by_force_and_left_as_it_was(
    acme: int,
) -> None:
    made = [tasks.submit("debug:noop", queue="low", tenant_id=acme) for _ in range(2)]
    hand = Hand()
    assert len(hand.claim(1)) == 1
    with pytest.raises(Conflict):
        removing.remove("acme:low", force=True, actor="test")
    found = reading.get("acme:low")
    assert found is not None
    assert not found.paused
    assert sorted(row(task.id, "state") for task in made) == [1, 2]


def test_a_task_that_was_claimed_meanwhile_stops_the_deletion(
    acme: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tasks.submit("debug:noop", queue="low", tenant_id=acme)
    hand = Hand()
    ids, pause = hand.fetch(), removing._set_paused

    def claimed_first(queue: catalog.QueueRow, paused: bool) -> None:
        if paused:
            runs.claim(hand.id, ids)
        pause(queue, paused)

    monkeypatch.setattr(removing, "_set_paused", claimed_first)
    with pytest.raises(Conflict):
        removing.remove("acme:low", force=True, actor="test")
    assert row(made.id, "state") == 2
    assert postgres.query("SELECT count(*) FROM queue WHERE paused OR removed") == [(0,)]


@pytest.mark.req("AC10")
@pytest.mark.parametrize("name", ["low", "acme:low"])
def test_the_next_submit_of_a_client_that_knew_it_registers_the_queue_again(
    acme: int, name: str
) -> None:
    tasks.submit("debug:noop", queue=name, tenant_id=acme)
    before = catalog.queues().get("acme:low").id
    removing.remove("acme:low", force=True, actor="test")
    with pytest.raises(UnknownQueue):
        catalog.queues().get("acme:low")
    made = tasks.submit("debug:noop", queue=name, tenant_id=acme)
    assert (made.queue, row(made.id, "queue_id")) == ("acme:low", before)
    assert "acme:low" in names()
    assert Hand().fetch() == [str(made.id)]


@pytest.mark.req("AC10", "Q-07")
def test_a_dead_letter_that_is_redriven_brings_its_queue_back(acme: int) -> None:
    made = tasks.submit("debug:noop", queue="low", tenant_id=acme)
    hand = Hand()
    hand.settle(hand.claim(), dead)
    removing.remove("acme:low", force=False, actor="test")
    actions.run_now(made.id, actor="test", tenant_id=acme)
    while duties.fold():
        pass
    tending.tend()
    assert "acme:low" in names()
    assert [run.id for run in Hand().claim()] == [str(made.id)]


def test_a_tenants_admin_deletes_its_own_queue_and_no_other(acme: int, admin: ApiClient) -> None:
    tenants.create("other")
    asked = {"name": "own", "scopes": ["admin"], "tenant": "acme"}
    own = ApiClient(
        key=data(admin.post("/keys", asked), 201)["key"],
        client=Client(raise_request_exception=False),
    )
    data(own.delete("/queues/low"))
    error(own.delete("/queues/other:low"), 404)
    error(api.client("operate", name="op").delete("/queues/other:low"), 403)
    assert "other:low" in names()


def test_the_command_needs_consent_and_says_what_went(acme: int) -> None:
    tasks.submit("debug:noop", queue="low", tenant_id=acme)
    with pytest.raises(CommandError, match="Add --yes"):
        run("queues", "delete", "acme:low")
    with pytest.raises(CommandError, match="not empty"):
        run("queues", "delete", "acme:low", "--yes")
    with pytest.raises(CommandError):
        run("queues", "delete", "nothing", "--yes")
    told = run_json("queues", "delete", "acme:low", "--force", "--yes")
    assert told["results"] == [
        {"queue": "acme:low", "ok": True, "deleted": 1, "refunded_credits": 0}
    ]
    assert audit()[-1] == ("queue.delete", "acme:low", False)
    assert "acme:low" not in names()


def test_what_a_deletion_that_ends_half_way_has_deleted_is_in_the_audit_log(
    acme: int, admin: ApiClient
) -> None:
    credits.grant(user_id=7, amount=100, reason="test", actor="test", tenant_id=acme)
    asked: dict[str, Any] = {"queue": "low", "tenant_id": acme, "user_id": 7, "credits": 5}
    made = [tasks.submit("debug:noop", **asked) for _ in range(3)]
    with other_connection() as other:
        other.execute("SELECT 1 FROM task WHERE id = %s FOR UPDATE", [made[0].id])
        error(admin.delete("/queues/acme:low?force=true&reason=closed"), 409)
    assert balance(7) == 95
    [entry] = AuditEntry.objects.filter(action="queue.empty", target="acme:low")
    assert entry.after == {"deleted": 2, "refunded_credits": 10}
