"""Tenants: their queues, names, quotas and keys; a flood of one delays no other."""

from typing import Any

import pytest
from django.test import Client

from jobs.domain.errors import Conflict, Invalid, QuotaExceeded, UnknownPlatform, UnknownQueue
from jobs.domain.states import Lane
from jobs.models import Queue, Task, Tenant
from jobs.operations import platforms, queues, schedules, tasks, tenants, tickets
from jobs.operations.platforms import PlatformSpec
from jobs.operations.requests import TaskRequest
from jobs.selectors import task_pages
from jobs.store import catalog, postgres
from jobs.store import redis as redis_store
from jobs.worker.served import Served
from tests.support import api
from tests.support.api import ApiClient, data, error
from tests.support.cli import run_json
from tests.support.engine import Hand, dead

NOOP = {"type": "debug:noop"}
BASES = ("critical", "high", "default", "scheduled", "low")


@pytest.fixture
def admin(engine: None) -> ApiClient:
    api.forget()
    return api.client("admin", name="boss")


def _tenant(admin: ApiClient, slug: str, *scopes: str, **quotas: Any) -> ApiClient:
    """A new tenant and a client with a key of its own."""
    data(admin.post("/tenants", {"slug": slug, "name": slug.title(), **quotas}), 201)
    asked = {"name": "own", "scopes": list(scopes or ("admin",)), "tenant": slug}
    made = data(admin.post("/keys", asked), 201)
    return ApiClient(key=made["key"], client=Client(raise_request_exception=False))


@pytest.mark.req("T-01")
def test_a_tenant_gets_the_five_queues_under_its_slug_with_their_weight(engine: None) -> None:
    made = tenants.create("acme", "Acme Ltd")
    rows = {q.name: q for q in Queue.objects.filter(tenant_id=made.pk)}
    assert set(rows) == {f"acme:{base}" for base in BASES}
    base = Queue.objects.get(name="high")
    assert (rows["acme:high"].base_id, rows["acme:high"].weight) == (base.pk, base.weight)
    with pytest.raises(Conflict):
        tenants.create("acme")


@pytest.mark.req("T-01")
@pytest.mark.parametrize(
    "slug", ["", "a", "A", "1a", "a_b", "a:b", "iso", "poll", "intermediate", "x" * 32, "ab\n"]
)
def test_a_slug_is_a_short_plain_word(engine: None, slug: str) -> None:
    with pytest.raises(Invalid):
        tenants.create(slug)
    assert Tenant.objects.count() == 1


@pytest.mark.req("T-01")
def test_the_caller_says_default_and_it_is_stored_and_shown_with_the_prefix(
    admin: ApiClient,
) -> None:
    acme = _tenant(admin, "acme")
    for body in (NOOP, {**NOOP, "queue": "default"}, {**NOOP, "queue": "acme:default"}):
        made = data(acme.post("/tasks", body), 201)
        assert made["queue"] == "acme:default"
        assert data(acme.get(f"/tasks/{made['task_id']}"))["queue"] == "acme:default"
    assert data(acme.post("/tasks", {**NOOP, "priority": 3}), 201)["queue"] == "acme:critical"
    assert data(acme.get("/queue/tasks?queue=default&state=pending"))["total"] == 3
    assert len(data(acme.get("/tasks?queue=acme:default"))["items"]) == 3
    assert data(admin.post("/tasks", NOOP), 201)["queue"] == "default"
    shards = {**NOOP, "shards": [{}, {}]}
    assert data(acme.post("/tasks", shards), 201)["queue"] == "acme:default"
    assert {r[0] for r in postgres.query("SELECT DISTINCT tenant_id FROM task")} == {1, 2}


@pytest.mark.req("T-01")
def test_nobody_submits_to_anothers_queue_or_hears_its_name(admin: ApiClient) -> None:
    acme, other = _tenant(admin, "acme"), _tenant(admin, "other")
    for client, name in (
        (other, "acme:default"),
        (admin, "acme:default"),
        (acme, "other:default"),
    ):
        refused = error(client.post("/tasks", {**NOOP, "queue": name}), 422)
        assert refused["code"] == "unknown_queue"
    assert all(name.startswith("acme:") for name in refused["details"]["known"])
    error(acme.post("/tasks", {**NOOP, "queue": "dead_letter"}), 422)


@pytest.mark.req("T-01")
def test_a_schedule_of_a_tenant_makes_tasks_in_its_own_queue(admin: ApiClient) -> None:
    acme = _tenant(admin, "acme")
    made = data(
        acme.post("/schedules", {"name": "s", "cron": "@daily", "queue": "low", **NOOP}), 201
    )
    assert schedules.run_now(made["id"]).queue == "acme:low"


@pytest.mark.req("T-01")
def test_platforms_belong_to_their_tenant_under_its_prefix(engine: None) -> None:
    acme, other = tenants.create("acme"), tenants.create("other")
    spec = PlatformSpec(name="acme:img", protocol="fal", base_url="https://img.example.org")
    platforms.create(spec, tenant_id=acme.pk)
    request = TaskRequest(type="platform:run", platform="img")
    made = tasks.submit_request(request, tenant_id=acme.pk)
    stored = postgres.query("SELECT platform FROM task_info WHERE id = %s", [made.id])
    assert stored == [("acme:img",)]
    for tenant_id in (1, other.pk):
        for name in ("img", "acme:img"):
            with pytest.raises(UnknownPlatform) as refused:
                tasks.submit("platform:run", platform=name, tenant_id=tenant_id)
            assert refused.value.details["known"] == []


@pytest.mark.req("T-01", "S23")
def test_a_tenant_with_too_many_waiting_tasks_is_refused_and_others_are_not(
    admin: ApiClient,
) -> None:
    acme = _tenant(admin, "acme", max_pending=3)
    data(acme.post("/tasks", {**NOOP, "process_in": 60}), 201)
    batch = data(acme.post("/tasks/batch", {"tasks": [NOOP] * 4}))
    assert (batch["accepted"], batch["rejected"]) == (2, 2)
    refused = acme.post("/tasks", NOOP)
    assert error(refused, 429)["code"] == "quota_exceeded"
    assert int(refused.headers["Retry-After"]) > 0
    data(admin.post("/tasks", NOOP), 201)
    with pytest.raises(QuotaExceeded):
        tasks.submit("debug:noop", tenant_id=2)
    data(admin.patch("/tenants/acme", {"max_pending": None}))
    data(acme.post("/tasks", NOOP), 201)
    data(admin.patch("/tenants/acme", {"max_pending": 0}))
    error(acme.post("/tasks", NOOP), 429)


@pytest.mark.req("T-01")
def test_a_fan_out_counts_with_all_its_shards(admin: ApiClient) -> None:
    acme = _tenant(admin, "acme", max_pending=3)
    error(acme.post("/tasks", {**NOOP, "shards": [{}] * 3}), 429)
    data(acme.post("/tasks", {**NOOP, "shards": [{}] * 2}), 201)


@pytest.mark.req("T-01", "A-04")
def test_all_keys_of_a_tenant_share_its_rate(admin: ApiClient, settings: Any) -> None:
    acme = _tenant(admin, "acme", rate_per_s=1)
    second = ApiClient(
        key=data(acme.post("/keys", {"name": "b", "scopes": ["read"]}), 201)["key"],
        client=acme.client,
    )
    assert second.get("/queues").headers["RateLimit-Remaining"] == "0"
    error(acme.get("/queues"), 429)
    data(admin.get("/queues"))


@pytest.mark.req("T-01")
def test_tenants_are_managed_by_admins_of_the_default_tenant_alone(admin: ApiClient) -> None:
    acme = _tenant(admin, "acme", max_pending=9)
    shown = data(admin.get("/tenants/acme"))
    assert (shown["name"], shown["max_pending"], shown["rate_per_s"]) == ("Acme", 9, None)
    assert [t["slug"] for t in data(admin.get("/tenants"))["items"]] == ["default", "acme"]
    changed = data(admin.patch("/tenants/acme", {"name": "ACME", "rate_per_s": 100}))
    assert (changed["name"], changed["max_pending"], changed["rate_per_s"]) == ("ACME", 9, 100)
    error(admin.post("/tenants", {"slug": "acme"}), 409)
    error(admin.post("/tenants", {"slug": "Acme"}), 422)
    error(admin.post("/tenants", {"slug": "b2", "rate_per_s": 0}), 422)
    error(admin.patch("/tenants/default", {"max_pending": 1}), 422)
    error(admin.patch("/tenants/nobody", {"name": "x"}), 404)
    for method, path in (("GET", "/tenants"), ("GET", "/tenants/acme"), ("POST", "/tenants")):
        error(acme.call(method, path, {"slug": "evil"} if method == "POST" else None), 404)
    error(api.client("operate", "read", name="small").get("/tenants"), 403)
    actions = [e["action"] for e in data(admin.get("/audit"))["items"]]
    assert actions.count("tenant.create") == 1
    assert "tenant.change" in actions


@pytest.mark.req("T-01", "T-02")
def test_keys_are_seen_and_revoked_by_their_tenant_and_by_the_default_tenants_admins(
    admin: ApiClient,
) -> None:
    acme = _tenant(admin, "acme")
    assert [k["tenant"] for k in data(acme.get("/keys"))["items"]] == ["acme"]
    assert {k["tenant"] for k in data(admin.get("/keys"))["items"]} == {"acme", "default"}
    for tenant in ("default", "nobody"):
        asked = {"name": "x", "scopes": ["admin"], "tenant": tenant}
        assert error(acme.post("/keys", asked), 422)["details"]["tenant"] == tenant
    own = data(acme.post("/keys", {"name": "x", "scopes": ["read"], "tenant": "acme"}), 201)
    data(admin.delete(f"/keys/{own['key_id']}"))


@pytest.mark.req("T-01", "Q-08")
def test_a_tenant_sees_and_pauses_its_own_queues_only(admin: ApiClient) -> None:
    acme = _tenant(admin, "acme")
    own = {f"acme:{base}" for base in BASES}
    assert set(data(acme.get("/queue/stats"))) == own
    assert {q["queue"] for q in data(acme.get("/queues"))["items"]} == own
    assert own < set(data(admin.get("/queue/stats")))
    assert not own & set(data(api.client("read", name="reader").get("/queue/stats")))
    assert data(acme.post("/queues/low/pause"))["queue"] == "acme:low"
    assert postgres.query("SELECT name FROM queue WHERE paused") == [("acme:low",)]
    data(acme.post("/queues/acme:low/resume"))
    error(acme.patch("/queues/low", {"weight": 100}), 403)
    data(admin.patch("/queues/acme:low", {"capacity": 7}))
    error(acme.post("/queues/dead_letter/empty"), 404)


def _fill(tenant_id: int, count: int) -> None:
    request = TaskRequest(type="debug:noop", queue="default")
    for _ in range(count // 500 or 1):
        tasks.submit_many([request] * min(count, 500), tenant_id=tenant_id)


def _fetch(order: Served, want: int) -> list[str]:
    """One fetch as a worker makes it; the queues that gave."""
    plan = order.plan(Lane.ASYNC, want)
    found = redis_store.fetch(
        9, plan.sources, want=want, epoch=tickets.epoch(), was_idle=False, shares=plan.shares
    )
    order.gave(plan, found)
    return [batch.queue for batch in found]


@pytest.mark.req("T-01", "X-12")
@pytest.mark.parametrize("names", [[], ["default"]])
@pytest.mark.parametrize("strict", [False, True])
def test_a_flood_of_one_tenant_delays_anothers_task_by_one_turn_at_most(
    engine: None, names: list[str], strict: bool
) -> None:
    flood, calm = tenants.create("flood"), tenants.create("calm")
    _fill(flood.pk, 2000)
    order = Served(names, strict=strict)
    order.check()
    for _ in range(5):
        assert set(_fetch(order, 10)) == {"flood:default"}
    for _ in range(3):
        for tenant_id in (calm.pk, catalog.DEFAULT_TENANT):
            tasks.submit("debug:noop", tenant_id=tenant_id)
        seen = {name for _ in range(2) for name in _fetch(order, 10)}
        assert {"calm:default", "default"} <= seen
        assert set(_fetch(order, 10)) == {"flood:default"}


@pytest.mark.req("T-01", "Q-02")
def test_tenants_share_the_weight_of_their_base(engine: None) -> None:
    queues.configure("high", weight=6)
    queues.configure("low", weight=2)
    for slug in ("aa", "bb", "cc"):
        made = tenants.create(slug)
        for queue, count in (("high", 300), ("low", 100)):
            tasks.submit_many(
                [TaskRequest(type="debug:noop", queue=queue)] * count, tenant_id=made.pk
            )
    order = Served(["high", "low"], strict=False)
    order.check()
    picked = [name for _ in range(200) for name in _fetch(order, 1)]
    assert {name: picked.count(name) for name in picked} == {
        **{f"{slug}:high": pytest.approx(50, abs=1) for slug in ("aa", "bb", "cc")},
        **{f"{slug}:low": pytest.approx(50 / 3, abs=1) for slug in ("aa", "bb", "cc")},
    }


@pytest.mark.req("X-12", "T-01")
def test_a_worker_may_serve_some_tenants_queues_alone(engine: None) -> None:
    for slug in ("aa", "bb", "cc"):
        _fill(tenants.create(slug).pk, 10)
    order = Served(["aa:default", "bb:default"], strict=False)
    order.check()
    assert sorted({name for _ in range(4) for name in _fetch(order, 2)}) == [
        "aa:default",
        "bb:default",
    ]
    with pytest.raises(UnknownQueue):
        Served(["nobody:default"], strict=False).check()


@pytest.mark.req("T-01")
def test_a_tenants_dead_letters_are_counted_apart_from_others(engine: None) -> None:
    acme = tenants.create("acme")
    with pytest.raises(UnknownQueue):
        catalog.queues(fresh=True).own(acme.pk, "nothing")
    for tenant_id in (1, 1, acme.pk):
        made = tasks.submit("debug:noop", tenant_id=tenant_id)
        postgres.query(
            "UPDATE task SET state = 5, status = 5, origin_id = queue_id, queue_id = %s,"
            " expires_at = now() WHERE id = %s RETURNING 1",
            [catalog.queues().dead_letter_id, made.id],
        )
    assert task_pages.page("dead_letter", "archived", tenant_id=acme.pk).total == 1
    assert task_pages.page("default", "archived", tenant_id=acme.pk).total == 1
    assert task_pages.page("dead_letter", "archived", tenant_id=1).total == 2


@pytest.mark.req("T-01", "Q-07", "Q-08")
def test_emptying_the_dead_letters_takes_the_callers_own_unless_it_says_all(engine: None) -> None:
    api.forget()
    acme = tenants.create("acme")
    for tenant_id in (1, acme.pk, acme.pk):
        tasks.submit("debug:noop", tenant_id=tenant_id)
    hand = Hand()
    assert len(hand.settle(hand.claim(), dead)) == 3
    admin, operator = api.client("admin"), api.client("operate")
    error(operator.post("/queues/dead_letter/empty", {"all_tenants": True}), 403)
    assert data(operator.post("/queues/dead_letter/empty"))["deleted"] == 1
    told = data(operator.post("/queues/dead_letter/empty"))
    assert (told["deleted"], told["remaining"]) == (0, False)
    assert run_json("queues", "empty", "dead_letter", "--yes")["results"][0]["deleted"] == 0
    assert Task.objects.filter(tenant_id=acme.pk).count() == 2
    assert data(admin.post("/queues/dead_letter/empty", {"all_tenants": True}))["deleted"] == 2
