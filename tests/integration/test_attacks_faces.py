"""What an attacker found in the faces of the house: API, console, their audit log and their read-only mode."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management.base import CommandError
from django.db import connection
from django.test import Client
from django.urls import NoReverseMatch, reverse

from jobs.models import AuditEntry
from jobs.operations import keys, tenants
from jobs.operations.tasks import submit
from tests.integration.admin_support import client_of
from tests.support import api, cli
from tests.support.api import ApiClient, data, error
from tests.support.engine import Hand, failed

pytestmark = pytest.mark.usefixtures("engine")

NUL = [
    ("DELETE", "/keys/%00"),
    ("POST", "/queues/a%00b/pause"),
    ("POST", "/tenants/%00/pause"),
    ("PATCH", "/platforms/%00"),
    ("POST", "/breakers/x%00"),
    ("POST", "/plans/%00/execute"),
]


@pytest.mark.req("A-03", "T-06", "A-04")
@pytest.mark.parametrize(("method", "path"), NUL)
def test_a_refused_attempt_at_a_path_with_nul_is_noted_and_answered(method: str, path: str) -> None:
    refused = error(api.client("read").call(method, path, None), 403)
    assert refused["code"] == "forbidden"
    [entry] = AuditEntry.objects.filter(refused=True)
    assert entry.target == "/api/v1" + path.replace("%00", "\\0")


@pytest.mark.req("A-06", "A-03")
def test_read_only_answers_a_path_with_nul_like_any_other(settings: Any) -> None:
    settings.ASYNQ_READONLY = True
    error(api.client("admin").post("/queues/a%00/pause"), 403)


PAGES = [
    "/admin/jobs/platform/{}/",
    "/admin/jobs/platform/{}/settings/",
    "/admin/jobs/platform/{}/open/",
    "/admin/jobs/queue/{}/pause/",
    "/admin/jobs/queue/{}/settings/",
    "/admin/jobs/apikey/{}/revoke/",
    "/admin/jobs/account/user/{}/",
    "/admin/jobs/task/{}/",
]


@pytest.mark.req("V-12", "T-03")
@pytest.mark.parametrize("role", ["root", "viewer", None])
def test_no_page_of_the_console_breaks_at_a_nul_in_its_address(role: str | None) -> None:
    browser = client_of(role)
    browser.raise_request_exception = False
    for page in PAGES:
        for send in (browser.get, browser.post):
            assert send(page.format("a%00b")).status_code in (403, 404), page


@pytest.mark.req("T-01", "E-05")
@pytest.mark.parametrize("slug", ["platform", "service"])
def test_a_tenant_called_like_a_kind_of_breaker_forces_none_of_others(slug: str) -> None:
    tenant = tenants.create(slug).pk
    made = keys.create(name="odd", scopes=["operate", "read"], tenant_id=tenant)
    odd = ApiClient(key=made.key, client=Client(raise_request_exception=False))
    house = api.client("admin")
    for name, url in (("x", "https://x.test"), ("y", "https://proxy")):
        data(house.post("/platforms", {"name": name, "protocol": "fal", "base_url": url}), 201)
    for name in ("x", "proxy"):
        asked = {"name": name, "protocol": "fal", "base_url": "https://z.test"}
        data(odd.post("/platforms", asked), 201)
        data(odd.post(f"/platforms/{name}/breaker", {"state": "OPEN"}))
    states = {one["name"]: one["state"] for one in data(house.get("/breakers"))["items"]}
    assert states["platform:x"] == states["service:proxy"] == "CLOSED"
    assert states[f"platform:{slug}:x"] == states[f"platform:{slug}:proxy"] == "OPEN"


@pytest.mark.req("A-06", "T-06")
def test_read_only_changes_no_person_role_or_password(settings: Any) -> None:
    browser = client_of("root")
    root = User.objects.get(username="root")
    root.set_password("Old-pass-123456")
    root.save()
    browser.force_login(root)
    group = Group.objects.create(name="kept")
    settings.ASYNQ_READONLY = True
    password = {"old_password": "Old-pass-123456", "new_password1": "New-pass-99887"}
    password["new_password2"] = password["new_password1"]
    for path, form in (
        ("/admin/auth/group/add/", {"name": "new"}),
        (f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"}),
        ("/admin/password_change/", password),
    ):
        assert browser.post(path, form).status_code == 403, path
    assert {g.name for g in Group.objects.filter(name__in=("new", "kept"))} == {"kept"}
    assert User.objects.get(username="root").check_password("Old-pass-123456")


@pytest.mark.req("T-06")
def test_whoever_changes_their_own_password_is_in_the_audit_log() -> None:
    browser = client_of("root")
    root = User.objects.get(username="root")
    root.set_password("Old-pass-123456")
    root.save()
    browser.force_login(root)
    form = {"old_password": "wrong", "new_password1": "New-pass-99887"}
    form["new_password2"] = form["new_password1"]
    browser.post("/admin/password_change/", form)
    assert not AuditEntry.objects.filter(action="user.password").exists()
    browser.post("/admin/password_change/", {**form, "old_password": "Old-pass-123456"})
    [entry] = AuditEntry.objects.filter(action="user.password")
    assert (entry.actor, entry.target) == ("user:root", f"root #{root.pk}")
    assert "pass-" not in f"{entry.before}{entry.after}{entry.reason}"


@pytest.mark.req("T-06", "T-03")
@pytest.mark.parametrize("kind", ["otp_totp_totpdevice", "otp_static_staticdevice"])
def test_second_factors_are_given_out_on_the_command_line_alone(kind: str) -> None:
    with pytest.raises(NoReverseMatch):
        reverse(f"admin:{kind}_add")


@pytest.mark.req("T-01", "A-01")
def test_the_overview_of_a_key_that_is_no_admins_shows_no_error_of_another_tenant() -> None:
    tenant = tenants.create("acme").pk
    submit("debug:noop", tenant_id=tenant)
    submit("debug:noop")
    hand = Hand()
    hand.settle(
        hand.claim(),
        lambda run: replace(failed(run), error=f"tenant {run.tenant_id}: card 4711 refused"),
    )
    seen = {
        scope: [e["error"] for e in data(api.client(scope).get("/queue/overview"))["top_errors"]]
        for scope in ("read", "admin")
    }
    assert seen["read"] == ["tenant 1: card 4711 refused"]
    assert len(seen["admin"]) == 2


@pytest.mark.req("T-02", "T-01")
def test_no_key_of_a_tenant_keeps_others_from_seeing_theirs() -> None:
    made = keys.create(name="a", scopes=["admin"], tenant_id=tenants.create("acme").pk)
    acme = ApiClient(key=made.key, client=Client(raise_request_exception=False))
    house = api.client("admin")
    for expires_at in ("9999-12-31T23:59:59.999999-14:00", "9999-12-31T23:59:59Z"):
        asked = {"name": "k", "scopes": ["read"], "expires_at": expires_at}
        refused = error(acme.post("/keys", asked), 422)
        assert refused["details"]["field"] == "expires_at"
    data(house.get("/keys"))
    assert client_of("root").get("/admin/jobs/apikey/").status_code == 200


@pytest.mark.req("A-02", "D-06")
def test_options_of_a_schedule_that_several_change_at_once_are_all_kept(
    transactional_db: None,
) -> None:
    house = api.client("admin")
    made = data(
        house.post("/schedules", {"name": "s", "cron": "@daily", "type": "debug:echo"}), 201
    )
    wanted = {"queue": "low", "business_id": "b", "max_retries": 1}
    barrier = Barrier(len(wanted))

    def change(name: str) -> int:
        barrier.wait(10)
        try:
            caller = ApiClient(key=house.key, client=Client())
            return int(caller.patch(f"/schedules/{made['id']}", {name: wanted[name]}).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(wanted)) as pool:
        assert set(pool.map(change, wanted)) == {200}
    kept = data(house.get(f"/schedules/{made['id']}"))["options"]
    assert {name: kept.get(name) for name in wanted} == wanted


@pytest.mark.req("S-01", "A-03")
@pytest.mark.parametrize("name", [".", ".."])
def test_no_task_is_called_so_that_its_own_link_leads_elsewhere(name: str) -> None:
    asked = {"type": "debug:noop", "task_id": name}
    assert error(api.client("submit").post("/tasks", asked), 422)["details"]["field"] == "task_id"


@pytest.mark.req("A-06", "T-04")
def test_read_only_rotates_no_secrets(settings: Any) -> None:
    settings.ASYNQ_READONLY = True
    with pytest.raises(CommandError, match="ASYNQ_READONLY"):
        cli.run("rotate_secrets")
    assert AuditEntry.objects.filter(action="secrets.rotate", refused=True).count() == 1
    cli.run_json("rotate_secrets", "--dry-run")
