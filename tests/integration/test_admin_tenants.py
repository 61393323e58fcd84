"""Tenants in the console: quotas, keys, pauses; whose audit log is whose."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from jobs.domain import ids
from jobs.models import Account, ApiKey, AuditEntry, Plan, Queue, Tenant
from jobs.operations import keys, platforms, queues, schedules, tenants
from jobs.operations.platforms import PlatformSpec
from jobs.operations.tasks import submit
from jobs.selectors import queues as reading
from jobs.store import catalog
from queues_admin.admin.audit import differences
from tests.integration.admin_support import audits, client_of, confirm_post, text
from tests.support import api
from tests.support.api import ApiClient, data
from tests.support.cli import run_json
from tests.support.engine import row

pytestmark = pytest.mark.usefixtures("engine")


@pytest.fixture
def admin(engine: None) -> Client:
    api.forget()
    return client_of("admin")


@pytest.mark.req("T-01", "T-06")
def test_an_admin_makes_a_tenant_changes_its_quotas_and_takes_one_away(admin: Client) -> None:
    url = "/admin/jobs/tenant/+new/"
    made = confirm_post(admin, url, slug="acme", name="Acme", max_pending=5, rate_per_s="")
    assert made.status_code == 302
    acme = Tenant.objects.get(slug="acme")
    assert (acme.name, acme.max_pending, acme.rate_per_s) == ("Acme", 5, None)
    assert Queue.objects.filter(tenant_id=acme.pk).count() >= 5
    settings = "/admin/jobs/tenant/acme/settings/"
    confirm_post(admin, settings, name="Acme Ltd", max_pending="", rate_per_s=20, reason="grows")
    acme.refresh_from_db()
    assert (acme.name, acme.max_pending, acme.rate_per_s) == ("Acme Ltd", None, 20)
    [entry] = audits("tenant.change")
    assert ((entry.before or {})["max_pending"], (entry.after or {})["max_pending"]) == (5, None)
    assert (entry.target, entry.reason) == ("tenant:acme", "grows")


@pytest.mark.req("T-01")
@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"slug": "A b"}, "slug"),
        ({"slug": "iso"}, "slug"),
        ({"slug": "default"}, "slug"),
        ({"slug": "ok", "rate_per_s": 0}, "rate_per_s"),
        ({"slug": "ok", "max_pending": "many"}, "max_pending"),
    ],
)
def test_what_is_wrong_with_a_new_tenant_is_said_at_its_field(
    admin: Client, given: dict[str, Any], field: str
) -> None:
    answer = admin.post("/admin/jobs/tenant/+new/", given)
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert Tenant.objects.count() == 1


@pytest.mark.req("T-01", "Q-08")
def test_pausing_a_tenant_pauses_all_its_queues_and_nobody_elses(admin: Client) -> None:
    acme = tenants.create("acme")
    tenants.create("other")
    confirm_post(admin, "/admin/jobs/tenant/acme/pause/", reason="abuse")
    paused = Queue.objects.filter(tenant_paused=True)
    assert {q.tenant_id for q in paused} == {acme.pk}
    assert paused.count() == Queue.objects.filter(tenant_id=acme.pk).count()
    assert "abuse" in text(admin.get("/admin/jobs/tenant/acme/"))
    again = confirm_post(admin, "/admin/jobs/tenant/acme/pause/", reason="again")
    assert again.status_code == 302
    assert audits("tenant.pause", refused=True)
    confirm_post(admin, "/admin/jobs/tenant/acme/resume/")
    assert not Queue.objects.filter(tenant_paused=True).exists()


@pytest.mark.req("T-01")
def test_the_default_tenant_has_a_page_and_nothing_to_set(admin: Client) -> None:
    assert admin.get("/admin/jobs/tenant/default/").status_code == 200
    for verb in ("settings", "pause", "resume"):
        assert admin.get(f"/admin/jobs/tenant/default/{verb}/").status_code == 404
    assert admin.get("/admin/jobs/tenant/nobody/").status_code == 404


@pytest.mark.req("T-01")
def test_the_list_says_what_each_tenant_has_waiting(admin: Client) -> None:
    acme = tenants.create("acme", max_pending=7)
    for _ in range(3):
        submit("debug:noop", tenant_id=acme.pk)
    later = timezone.now() + timedelta(minutes=1)
    submit("debug:noop", tenant_id=acme.pk, process_at=later)
    answer = admin.get("/admin/jobs/tenant/?q=ac")
    [(tenant, load)] = answer.context["lines"]
    assert tenant.slug == "acme"
    assert (load.pending, load.waiting, load.active, load.paused) == (3, 1, 0, 0)
    assert admin.get("/admin/jobs/tenant/?q=zz").context["lines"] == []
    shown = run_json("tenants", "list")["items"][1]
    assert (shown["slug"], shown["waiting"], shown["active"], shown["max_pending"]) == (
        "acme",
        4,
        0,
        7,
    )
    assert "4 · 0" in text(admin.get("/admin/jobs/tenant/acme/"))


@pytest.mark.req("T-01", "T-02")
def test_a_key_made_for_a_tenant_in_the_console_speaks_for_it(admin: Client) -> None:
    acme = tenants.create("acme")
    url = "/admin/jobs/apikey/new/?tenant=acme"
    made = confirm_post(admin, url, name="shop", tenant="acme", scopes=["submit"])
    caller = keys.authenticate(made.context["made"].key)
    assert caller is not None
    assert caller.tenant_id == acme.pk
    shown = text(admin.get("/admin/jobs/apikey/?tenant=acme"))
    assert "shop" in shown
    assert "shop" not in text(admin.get("/admin/jobs/apikey/?tenant=default"))
    unknown = admin.post("/admin/jobs/apikey/new/", {"name": "x", "tenant": "no", "scopes": "read"})
    assert unknown.status_code == 422
    assert ApiKey.objects.filter(name="x").count() == 0


@pytest.mark.req("T-01", "T-06")
def test_each_tenants_admins_see_what_their_own_keys_did(admin: Client) -> None:
    acme, other = (tenants.create(slug) for slug in ("acme", "other"))
    mine, theirs = (_key(tenant.pk) for tenant in (acme, other))
    house = api.client("admin", name="boss")
    for client, name in ((mine, "a"), (theirs, "b"), (house, "c")):
        data(client.post("/keys", {"name": name, "scopes": ["read"]}), 201)
    assert {e["tenant"] for e in data(mine.get("/audit"))["items"]} == {"acme"}
    assert [e["target"] for e in data(mine.get("/audit"))["items"]] == ["key:a"]
    assert mine.get("/audit?tenant=other").status_code == 422
    assert mine.get("/audit?tenant=nobody").status_code == 422
    assert {e["tenant"] for e in data(house.get("/audit"))["items"]} == {"acme", "other", "default"}
    asked = data(house.get("/audit?tenant=other"))["items"]
    assert [e["target"] for e in asked] == ["key:b"]
    shown = text(admin.get("/admin/jobs/auditentry/?tenant=other"))
    assert "key:b" in shown
    assert "key:a" not in shown


@pytest.mark.req("T-01", "T-06")
def test_a_refused_attempt_belongs_to_the_tenant_whose_key_tried() -> None:
    api.forget()
    acme = tenants.create("acme")
    reader = _key(acme.pk, "read")
    assert reader.post("/keys", {"name": "x", "scopes": ["admin"]}).status_code == 403
    [entry] = AuditEntry.objects.filter(refused=True)
    assert entry.tenant_id == acme.pk


def _key(tenant_id: int, *scopes: str) -> ApiClient:
    made = keys.create(name="own", scopes=list(scopes or ("admin",)), tenant_id=tenant_id)
    return ApiClient(key=made.key, client=Client(raise_request_exception=False))


@pytest.mark.req("V-11")
def test_the_audit_log_says_old_and_new_of_each_field_as_json(admin: Client) -> None:
    tenants.create("acme", "Acme", max_pending=5)
    new = {"name": "Acme", "max_pending": "", "rate_per_s": "3", "reason": "x"}
    confirm_post(admin, "/admin/jobs/tenant/acme/settings/", **new)
    shown = text(admin.get("/admin/jobs/auditentry/?action=tenant.change"))
    assert "<del>5</del> → <ins>null</ins>" in shown
    assert "None" not in shown
    assert "{&#x27;" not in shown


@pytest.mark.req("V-11")
@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (None, None, []),
        ({"a": 1, "b": [True, None]}, {"a": 2}, [("a", "1", "2"), ("b", "[true,null]", None)]),
        (
            {"same": "x"},
            {"same": "x", "new": {"k": 1}},
            [("new", None, '{"k":1}'), ("same", "x", "x")],
        ),
        ("whole", ["other"], [("", "whole", '["other"]')]),
    ],
)
def test_what_changed_stands_first(before: Any, after: Any, shown: list[tuple[Any, ...]]) -> None:
    assert [(d.name, d.old, d.new) for d in differences(before, after)] == shown


@pytest.mark.req("T-01", "V-03", "V-04")
def test_operators_find_search_and_cancel_a_tenants_tasks_and_see_one_tenant_at_a_time(
    admin: Client,
) -> None:
    acme = tenants.create("acme")
    catalog.forget()
    theirs = submit("debug:noop", tenant_id=acme.pk, task_id="order-1", business_id="b1")
    ours = submit("debug:noop")
    listed = admin.get("/admin/jobs/task/?tenant=acme")
    assert [t.task_id for t in listed.context["shown"].items] == ["order-1"]
    counts = {tab.label: tab.count for tab in listed.context["tabs"]}
    assert (counts["All"], counts["Pending"], counts["Archived"]) == (1, 1, 0)
    address = ids.public_id(theirs.id)
    assert f"/admin/jobs/task/{address}/" in text(listed)
    by_queue = admin.get("/admin/jobs/task/?queue=acme:default")
    assert [t.task_id for t in by_queue.context["shown"].items] == ["order-1"]
    assert [t.task_id for t in admin.get("/admin/jobs/task/").context["shown"].items] == [
        ours.task_id
    ]
    found = admin.get("/admin/jobs/task/?tenant=acme&q=order-1")
    assert found["Location"] == f"/admin/jobs/task/{address}/"
    assert "acme" in text(admin.get(f"/admin/jobs/task/{address}/"))
    confirm_post(admin, f"/admin/jobs/task/{address}/cancel/", reason="asked for")
    assert row(theirs.id, "status") == 9
    assert admin.get("/admin/jobs/task/?tenant=nobody").status_code == 404


@pytest.mark.req("T-01", "A-05")
def test_a_plan_of_a_tenants_list_is_that_tenants(admin: Client) -> None:
    acme = tenants.create("acme")
    catalog.forget()
    submit("debug:noop", tenant_id=acme.pk)
    submit("debug:noop")
    listed = admin.get("/admin/jobs/task/?tenant=acme&state=pending")
    [cancel] = [b for b in listed.context["bulk"] if "action=cancel" in b.url]
    made = confirm_post(admin, cancel.url, reason="clean up")
    plan = Plan.objects.get()
    assert made["Location"] == f"/admin/jobs/plan/{plan.pk}/"
    assert (plan.tenant_id, plan.filter) == (acme.pk, {"state": "pending", "internal": False})


@pytest.mark.req("T-01", "C-01")
def test_a_grant_on_a_tenants_account_goes_to_that_account(admin: Client) -> None:
    acme = tenants.create("acme")
    confirm_post(admin, "/admin/jobs/account/grant/?tenant=acme", user_id=7, amount=5, reason="x")
    account = Account.objects.get()
    assert (account.tenant_id, account.user_id, account.balance) == (acme.pk, 7, 5)
    confirm_post(admin, f"/admin/jobs/account/{account.pk}/grant/", amount=2, reason="more")
    account.refresh_from_db()
    assert (account.balance, Account.objects.count()) == (7, 1)
    assert "7" in text(admin.get("/admin/jobs/account/?tenant=acme"))
    assert admin.get("/admin/jobs/account/").context["page"].items == []


@pytest.mark.req("T-01", "V-06", "V-08")
def test_schedules_and_platforms_of_all_tenants_are_there_for_operators(admin: Client) -> None:
    acme = tenants.create("acme")
    catalog.forget()
    made = schedules.create(tenant_id=acme.pk, name="tidy", cron="0 3 * * *", type="debug:noop")
    spec = PlatformSpec(name="acme:p", protocol="replicate", base_url="https://example.com")
    platforms.create(spec, tenant_id=acme.pk)
    assert "tidy" in text(admin.get("/admin/jobs/schedule/"))
    assert admin.get(f"/admin/jobs/schedule/{made.pk}/").status_code == 200
    assert "acme:p" in text(admin.get("/admin/jobs/platform/"))
    assert admin.get("/admin/jobs/platform/acme:p/").status_code == 200


@pytest.mark.req("T-01", "Q-01")
def test_a_new_tenants_queue_begins_as_the_form_says_and_then_goes_its_own_way(
    admin: Client,
) -> None:
    queues.configure("low", capacity=70, concurrency=2)
    queues.pause("low", reason="maintenance")
    page = text(admin.get("/admin/jobs/tenant/+new/"))
    assert "the weight and capacity that the base queue has now, and runs" in page
    tenants.create("acme")
    own = reading.get("acme:low")
    assert own is not None
    assert (own.capacity, own.concurrency, own.paused) == (70, None, False)
    queues.configure("low", capacity=90)
    own = reading.get("acme:low")
    assert own is not None
    assert own.capacity == 70
