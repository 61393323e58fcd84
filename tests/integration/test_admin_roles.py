"""Who may open and do what; and that a person without a permission sees and can do nothing."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client

from jobs.builtin import plans as builtin
from jobs.domain.plans import PlanAction
from jobs.models import ApiKey, AuditEntry, Queue
from jobs.operations import credits, keys, tickets
from jobs.operations.tasks import submit
from jobs.selectors.plans import PlanFilter
from queues_admin.permissions import ROLES, sync_roles
from tests.integration.admin_support import act_url, client_of, confirm_post, text
from tests.support.engine import row

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = {
    "/admin/jobs/task/": "viewer",
    "/admin/jobs/queue/": "viewer",
    "/admin/jobs/queue/redis/": "viewer",
    "/admin/jobs/worker/": "viewer",
    "/admin/jobs/schedule/": "viewer",
    "/admin/jobs/plan/": "viewer",
    "/admin/jobs/platform/": "viewer",
    "/admin/jobs/breaker/": "viewer",
    "/admin/jobs/platform/+unknown/": "viewer",
    "/admin/jobs/account/": "finance",
    "/admin/jobs/creditentry/": "finance",
    "/admin/jobs/auditentry/": "admin",
    "/admin/jobs/apikey/": "admin",
    "/admin/jobs/tenant/": "admin",
    "/admin/jobs/tenant/default/": "admin",
    "/admin/django_rq/dashboard/": "operator",
}
CHANGES = {
    "/admin/jobs/queue/high/pause/": "operator",
    "/admin/jobs/queue/high/settings/": "operator",
    "/admin/jobs/queue/stop/": "operator",
    "/admin/jobs/platform/+new/": "operator",
    "/admin/jobs/schedule/new/": "operator",
    "/admin/jobs/account/grant/": "finance",
    "/admin/jobs/apikey/new/": "admin",
    "/admin/jobs/tenant/+new/": "admin",
}


@pytest.fixture(autouse=True)
def _fresh_redis(redis: Any) -> None:
    tickets.forget()


@pytest.mark.req("T-03", "V-12")
@pytest.mark.parametrize("url", [*PAGES, *CHANGES])
def test_staff_without_a_permission_sees_nothing(url: str) -> None:
    assert client_of(None).get(url).status_code == 403


@pytest.mark.req("T-03")
@pytest.mark.parametrize("url", [*PAGES, *CHANGES])
def test_a_stranger_is_sent_to_the_login(url: str) -> None:
    answer = Client().get(url)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")


@pytest.mark.req("T-03", "V-12", "S19")
@pytest.mark.parametrize(("url", "role"), [*PAGES.items(), *CHANGES.items()])
def test_each_page_opens_for_its_role(url: str, role: str) -> None:
    assert client_of(role).get(url).status_code == 200


@pytest.mark.req("T-03")
@pytest.mark.parametrize(
    "url", [url for url, role in PAGES.items() if role != "viewer"] + list(CHANGES)
)
def test_a_viewer_opens_nothing_beyond_viewing(url: str) -> None:
    assert client_of("viewer").get(url).status_code == 403


@pytest.mark.req("T-03", "T-06", "S19")
@pytest.mark.parametrize("url", CHANGES)
def test_a_viewers_post_changes_nothing_and_is_audited(url: str) -> None:
    answer = client_of("viewer").post(url, {"reason": "because", "amount": 5, "user_id": 1})
    assert answer.status_code == 403
    assert not Queue.objects.filter(paused=True).exists()
    assert ApiKey.objects.count() == 0
    [entry] = AuditEntry.objects.all()
    assert entry.refused
    assert entry.actor == "user:viewer"


@pytest.mark.req("T-03", "S19")
def test_only_finance_cancels_what_was_charged() -> None:
    credits.grant(user_id=1, amount=10, reason="x", actor="test")
    task = submit("debug:noop", user_id=1, credits=10)
    free = submit("debug:noop")
    operator, finance = client_of("operator"), client_of("finance")
    assert operator.get(act_url(task.task_id, "cancel")).status_code == 403
    assert operator.get(act_url(task.task_id, "delete")).status_code == 403
    assert operator.get(act_url(task.task_id, "archive")).status_code == 200
    assert operator.get(act_url(free.task_id, "cancel")).status_code == 200
    assert finance.get(act_url(free.task_id, "run")).status_code == 403
    assert (
        confirm_post(finance, act_url(task.task_id, "cancel"), reason="refund").status_code == 302
    )
    assert row(task.id, "state") == 6


@pytest.mark.req("T-03")
def test_the_menu_offers_what_the_role_may_open() -> None:
    entries = {e["words"] for e in _menu(client_of("viewer"))}
    assert entries == {
        "Queues",
        "Servers",
        "Schedulers",
        "Redis Info",
        "Tasks",
        "Plans",
        "Platforms",
    }
    assert "Accounts" in {e["words"] for e in _menu(client_of("finance"))}
    assert [e["words"] for e in _menu(client_of("root"))][:4] == [
        "Queues",
        "Servers",
        "Schedulers",
        "Redis Info",
    ]


@pytest.mark.req("T-03", "S30")
def test_django_rqs_own_pages_need_a_permission_on_every_address() -> None:
    nobody, viewer = client_of(None), client_of("viewer")
    for url in (
        "/admin/django_rq/dashboard/",
        "/admin/django_rq/dashboard/queues/0/",
        "/admin/django_rq/dashboard/queues/0/empty/",
        "/admin/django_rq/dashboard/workers/0/",
    ):
        assert nobody.get(url).status_code == 403
        assert viewer.post(url).status_code == 403
    assert Client().get("/admin/django_rq/dashboard/stats.json").status_code in (302, 404)


@pytest.mark.req("T-03", "V-12")
def test_roles_are_groups_that_a_second_migrate_leaves_alone() -> None:
    sync_roles()
    before = {g.name: g.permissions.count() for g in Group.objects.all()}
    sync_roles()
    assert {g.name: g.permissions.count() for g in Group.objects.all()} == before
    assert before == {role: len(set(names)) for role, names in ROLES.items()}


@pytest.mark.req("T-02")
def test_a_key_is_shown_once_and_never_again() -> None:
    admin = client_of("admin")
    made = confirm_post(admin, "/admin/jobs/apikey/new/", name="ci", scopes=["submit", "read"])
    key = made.context["made"].key
    assert key in text(made)
    assert keys.authenticate(key) is not None
    assert key not in text(admin.get("/admin/jobs/apikey/"))
    assert key not in str(list(AuditEntry.objects.values()))
    key_id = ApiKey.objects.get().key_id
    confirm_post(admin, f"/admin/jobs/apikey/{key_id}/revoke/", reason="leaked")
    assert keys.authenticate(key) is None


@pytest.mark.req("T-03", "T-06")
def test_an_admin_gives_roles_but_makes_no_superuser() -> None:
    boss, root = client_of("admin"), client_of("root")
    users: Any = get_user_model().objects
    new, above = users.create_user("new"), users.get(username="root")
    operator = Group.objects.get(name="operator")
    form = {
        "username": "new",
        "is_active": "on",
        "is_staff": "on",
        "is_superuser": "on",
        "groups": [operator.pk],
    }
    form |= {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    assert boss.post(f"/admin/auth/user/{new.pk}/change/", form).status_code == 302
    new.refresh_from_db()
    assert new.groups.get() == operator
    assert not new.is_superuser
    assert boss.post(f"/admin/auth/user/{above.pk}/change/", form).status_code == 403
    assert boss.post(f"/admin/auth/user/{above.pk}/password/", form).status_code == 403
    assert root.get(f"/admin/auth/user/{above.pk}/change/").status_code == 200
    entry = AuditEntry.objects.get(action="user.change")
    assert (entry.actor, entry.target) == ("user:admin", f"new #{new.pk}")


def _menu(client: Client) -> list[dict[str, Any]]:
    from django.template import Context, Template

    request = client.get("/admin/jobs/task/").wsgi_request
    template = Template("{% load back_office %}{% menu as entries %}")
    context = Context({"request": request})
    template.render(context)
    entries: list[dict[str, Any]] = context["entries"]
    return entries


@pytest.mark.req("V-12")
def test_a_page_says_which_role_its_missing_buttons_need() -> None:
    credits.grant(user_id=7, amount=100, reason="test", actor="test")
    charged = submit("debug:noop", user_id=7, credits=30)
    free = submit("debug:noop")
    operator, viewer = client_of("operator"), client_of("viewer")
    page = text(operator.get(f"/admin/jobs/task/{charged.task_id}/"))
    assert "Cancel: this needs the role finance or admin." in page
    assert "Delete: this needs the role admin." in page
    assert "this needs the role" not in text(operator.get(f"/admin/jobs/task/{free.task_id}/"))
    needed = "Cancel, Archive, Run, Delete: this needs the role operator or admin."
    assert needed in text(viewer.get(f"/admin/jobs/task/{free.task_id}/"))
    shown = text(viewer.get("/admin/jobs/task/?state=active"))
    assert "Cancel All: this needs the role operator or admin." in shown
    plan = builtin.draft(PlanAction.CANCEL, PlanFilter(state="pending"), actor="test")
    assert "Execute, Abort: this needs the role finance or admin." in text(
        operator.get(f"/admin/jobs/plan/{plan.pk}/")
    )


@pytest.mark.req("V-12", "T-03")
def test_the_table_of_roles_in_the_docs_is_what_the_roles_may_do() -> None:
    docs = Path(__file__).parents[2] / "docs" / "deployment.md"
    lines = [line.split("|")[1:-1] for line in docs.read_text().splitlines() if line[:1] == "|"]
    [top] = [nr for nr, cells in enumerate(lines) if cells[0].strip() == "may"]
    roles = [cell.strip() for cell in lines[top][2:]]
    told: dict[str, set[str]] = {role: set() for role in roles}
    for cells in lines[top + 2 : top + 8]:
        for role, cell in zip(roles, cells[2:], strict=True):
            told[role] |= set(re.findall(r"`(\w+)`", cells[1])) if cell.strip() == "yes" else set()
    assert told == {role: {n.partition(".")[2] for n in held} for role, held in ROLES.items()}
