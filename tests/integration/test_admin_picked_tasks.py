"""Tasks ticked in the list: what their buttons offer to whom, the plan that they become, its report."""

from typing import Any

import pytest
from django.test import Client

from jobs.models import Plan
from jobs.operations import actions, credits
from jobs.operations.tasks import Submitted, submit
from tests.integration.admin_support import audits, client_of, confirm_post, text
from tests.integration.plan_support import dead_letters, ends, execute, many, run
from tests.support import api
from tests.support.api import data, error
from tests.support.engine import balance, row

pytestmark = pytest.mark.usefixtures("engine")

LIST = "/admin/jobs/task/"
NEW = "/admin/jobs/plan/new/"


def choose(client: Client, action: str, tasks: list[Submitted], **options: Any) -> Any:
    """Send the list's form with these boxes ticked, then the confirmation; the plan's page."""
    asked = "&".join([f"action={action}", "list=", *(f"ids={t.task_id}" for t in tasks)])
    asking = text(client.get(f"{NEW}?{asked}"))
    assert f"kept as a plan: {len(tasks)} selected task" in asking
    assert " All: make a plan" not in asking
    made = confirm_post(client, f"{NEW}?{asked}", reason="by hand", **options)
    assert made.status_code == 302, text(made)
    return client.get(made["Location"])


def labels(client: Client, query: str = "") -> list[str]:
    return [button.label for button in client.get(LIST + query).context["picked"]]


@pytest.mark.req("V-03", "A-05")
def test_the_ticked_tasks_alone_become_a_plan_with_a_report_task_by_task() -> None:
    root = client_of("root")
    first, second, kept = many(3, queue="low")
    ended = many(1)[0]
    actions.cancel(ended.id, reason="x", actor="test")
    page = choose(root, "archive", [first, second, ended])
    plan = Plan.objects.get()
    assert plan.tasks == 2
    assert "3 selected tasks" in text(page)
    assert "it has ended" in text(page)
    actions.archive(second.id, actor="somebody else")
    execute(plan)
    run(plan)
    assert [row(t.id, "state") for t in (first, second, kept)] == [5, 5, 1]
    assert ends(plan) == {first.id: (1, ""), second.id: (2, "changed")}
    page = root.get(f"/admin/jobs/plan/{plan.pk}/")
    assert "1 done, 1 skipped" in text(page)
    assert "it changed after the preview" in text(page)
    assert [e.reason for e in audits("plan.create")] == ["by hand"]


@pytest.mark.req("V-03", "C-04")
def test_ticked_tasks_are_cancelled_with_their_refund_and_dead_letters_run_again() -> None:
    root = client_of("root")
    credits.grant(user_id=7, amount=100, reason="test", actor="test")
    paid = submit("debug:noop", user_id=7, credits=30, process_in=600)
    page = choose(root, "cancel", [paid])
    assert "Credits that go back</dt><dd>30" in text(page)
    plan = Plan.objects.get()
    execute(plan)
    run(plan)
    assert balance(7) == 100
    letters = dead_letters(2)
    choose(root, "retry", letters[:1], stop_percent=50)
    plan = Plan.objects.latest("pk")
    execute(plan)
    run(plan)
    assert [row(t.id, "state") for t in letters] == [1, 5]


@pytest.mark.req("V-03", "V-12", "T-03")
def test_each_role_is_offered_for_ticked_tasks_what_it_may_do() -> None:
    many(1, queue="low")
    assert labels(client_of("viewer")) == []
    assert labels(client_of("operator")) == ["Run", "Archive", "Cancel", "Delete"]
    assert labels(client_of("finance")) == ["Cancel + refund"]
    admin = client_of("admin")
    assert labels(admin) == ["Run", "Archive", "Cancel + refund", "Delete"]
    assert labels(admin, "?state=active") == ["Cancel + refund"]
    assert labels(admin, "?state=completed") == ["Delete"]


@pytest.mark.req("V-12", "T-03")
def test_who_may_not_refund_previews_a_cancel_of_ticked_tasks_but_does_not_execute_it() -> None:
    credits.grant(user_id=7, amount=100, reason="test", actor="test")
    paid = submit("debug:noop", user_id=7, credits=30, process_in=600)
    page = choose(client_of("operator"), "cancel", [paid])
    assert page.context["buttons"] == []
    assert "this needs the role" in text(page)
    viewer = client_of("viewer")
    assert viewer.get(f"{NEW}?action=cancel&list=&ids={paid.task_id}").status_code == 403
    assert 'type="checkbox"' not in text(viewer.get(LIST))


@pytest.mark.req("V-03", "V-14")
def test_all_of_the_page_are_ticked_by_a_link_which_no_other_page_inherits() -> None:
    root = client_of("root")
    many(60, queue="low")
    page = root.get(f"{LIST}?queue=low")
    assert " checked" not in text(page)
    ticked = root.get(LIST + page.context["tick"])
    assert text(ticked).count(" checked") == 50
    assert "ticked" not in ticked.context["older"] + ticked.context["list_query"]
    assert all("ticked" not in tab.query for tab in ticked.context["tabs"])
    assert "<script" not in text(ticked).partition("tc-picked")[2].partition("</form>")[0]


@pytest.mark.req("V-03")
def test_without_a_tick_nothing_is_planned_and_the_list_comes_back_as_it_was() -> None:
    root = client_of("root")
    many(1, queue="low")
    back = root.get(f"{NEW}?action=archive&list=queue%3Dlow", follow=True)
    assert back.redirect_chain == [(f"{LIST}?queue=low", 302)]
    assert "tick at least one" in text(back)
    assert not Plan.objects.exists()


@pytest.mark.req("A-05")
def test_a_plan_names_its_tasks_through_the_api_a_thousand_at_most() -> None:
    api.forget()
    caller = api.client("operate", "read")
    one, _other = many(2)
    body = {"action": "archive", "filter": {"ids": [one.task_id]}}
    assert data(caller.post("/plans", body), 201)["preview"]["tasks"] == 1
    body = {"action": "archive", "filter": {"ids": [one.task_id] * 1001}}
    error(caller.post("/plans", body), 422)
