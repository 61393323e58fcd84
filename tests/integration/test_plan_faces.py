"""Plans through the API and the back office: shapes, roles, audit, pages."""

from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from jobs.models import AuditEntry, Plan
from jobs.operations import actions, credits
from jobs.operations.tasks import submit
from jobs.selectors import plans as reports
from tests.integration.admin_support import audits, client_of, confirm_post, text
from tests.integration.plan_support import draft, execute, many, run
from tests.support import api
from tests.support.api import ApiClient, data, error
from tests.support.engine import Hand, dead, row

pytestmark = pytest.mark.usefixtures("engine")

NEW = "/admin/jobs/plan/new/"


@pytest.fixture
def caller() -> ApiClient:
    api.forget()
    return api.client("operate", "read")


@pytest.mark.req("A-05", "A-02")
def test_a_plan_goes_from_preview_to_report_through_the_api(
    caller: ApiClient, settings: Settings
) -> None:
    settings.TASKCENTER = {**settings.TASKCENTER, "PLAN_UNDO_S": 0.0}
    tasks = many(3, queue="low")
    answer = caller.post(
        "/plans", {"action": "cancel", "filter": {"queue": "low"}, "reason": "incident"}
    )
    plan = data(answer, 201)
    assert answer["Location"] == f"/api/v1/plans/{plan['id']}"
    assert (plan["state"], plan["preview"]["tasks"]) == ("preview", 3)
    assert plan["filter"] == {"queue": "low"}
    assert {row(t.id, "state") for t in tasks} == {1}
    running = data(caller.post(f"/plans/{plan['id']}/execute"))
    assert (running["state"], running["executed_by"]) == ("running", plan["created_by"])
    assert error(caller.post(f"/plans/{plan['id']}/execute"), 409)["code"] == "conflict"
    data(caller.post(f"/plans/{plan['id']}/pause", {"reason": "look"}))
    error(caller.post(f"/plans/{plan['id']}/pause"), 409)
    data(caller.post(f"/plans/{plan['id']}/resume"))
    run(Plan.objects.get(pk=plan["id"]))
    ended = data(caller.get(f"/plans/{plan['id']}"))
    assert ended["progress"] == {
        "done": 3,
        "skipped": 0,
        "failed": 0,
        "waiting": 0,
        "percent": 100,
        "refunded_credits": 0,
    }
    report = data(caller.get(f"/plans/{plan['id']}/items?state=done&limit=2"))
    assert len(report["items"]) == 2
    assert report["items"][0] == {
        "task_id": tasks[0].task_id,
        "was": "pending",
        "queue": "low",
        "user_id": None,
        "credits": 0,
        "state": "done",
        "reason": "",
        "error": None,
        "at": report["items"][0]["at"],
    }
    more = data(caller.get(f"/plans/{plan['id']}/items?cursor={report['next_cursor']}"))
    assert [i["task_id"] for i in more["items"]] == [tasks[2].task_id]
    assert [p["id"] for p in data(caller.get("/plans"))["items"]] == [plan["id"]]
    done = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"plan.create", "plan.execute", "plan.pause", "plan.resume"} <= done


@pytest.mark.req("A-05")
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"action": "cancel", "filter": {}}, 422),
        ({"action": "cancel"}, 422),
        ({"action": "explode", "filter": {"queue": "low"}}, 422),
        ({"action": "cancel", "filter": {"queue": "nothing"}}, 422),
        ({"action": "cancel", "filter": {"payload": {}}}, 422),
        ({"action": "cancel", "filter": {"queue": "low"}, "canary": 3}, 422),
        ({"action": "redrive", "filter": {"queue": "low"}, "rate": 0}, 422),
        ({"action": "cancel", "filter": {"colour": "red"}}, 400),
    ],
)
def test_a_plan_that_says_too_little_or_nonsense_is_refused(
    caller: ApiClient, body: dict[str, Any], status: int
) -> None:
    error(caller.post("/plans", body), status)
    assert not Plan.objects.exists()


@pytest.mark.req("A-05", "T-02")
def test_reading_keys_see_plans_and_change_none(caller: ApiClient) -> None:
    many(1, queue="low")
    reader = api.client("read", name="reader")
    body = {"action": "cancel", "filter": {"queue": "low"}}
    error(reader.post("/plans", body), 403)
    plan = data(caller.post("/plans", body), 201)
    data(reader.get(f"/plans/{plan['id']}"))
    for verb in ("execute", "pause", "resume", "abort"):
        error(reader.post(f"/plans/{plan['id']}/{verb}"), 403)
    error(caller.post(f"/plans/{plan['id']}/execute", {"count": 2}), 422)
    assert data(caller.post(f"/plans/{plan['id']}/abort"))["state"] == "aborted"
    error(caller.get("/plans/999"), 404)
    error(caller.get("/plans/x"), 404)


@pytest.mark.req("A-05", "V-03")
def test_the_list_offers_all_that_fit_as_a_plan_and_leads_to_its_report() -> None:
    tasks = many(3, queue="low")
    many(1, queue="high")
    root = client_of("root")
    assert root.get("/admin/jobs/task/").context["bulk"] == []
    shown = root.get("/admin/jobs/task/?queue=low&state=pending").context["bulk"]
    labels = [b.label for b in shown]
    assert labels == ["Run All", "Archive All", "Cancel All", "Delete All"]
    made = confirm_post(root, shown[1].url, reason="clean up")
    plan = Plan.objects.get()
    assert made["Location"] == f"/admin/jobs/plan/{plan.pk}/"
    page = root.get(made["Location"])
    assert "nothing is changed yet" in text(page)
    assert [b.label for b in page.context["buttons"]] == ["Execute", "Abort"]
    assert "http-equiv" not in text(page)
    confirm_post(root, f"/admin/jobs/plan/{plan.pk}/execute/")
    page = root.get(made["Location"])
    assert "Undo window" in text(page)
    for address in (made["Location"], "/admin/jobs/plan/"):
        shown = text(root.get(address))
        assert 'tc-plan-undo">waiting: may be undone<' in shown
        assert ">running<" not in shown
    assert 'http-equiv="refresh"' in text(page)
    plan.refresh_from_db()
    assert plan.executed_by == "user:root"
    Plan.objects.update(starts_at=plan.created_at)
    run(plan)
    page = root.get(made["Location"])
    assert "3 done" in text(page)
    for task in tasks:
        assert task.task_id in text(page)
    report: Any = root.get(f"{made['Location']}report.csv")
    rows = b"".join(report.streaming_content).decode().splitlines()
    assert len(rows) == 4
    assert rows[1].startswith(f"{tasks[0].task_id},pending,low,,0,done,,,")
    assert [e.target for e in audits("plan.execute")] == [f"plan:{plan.pk}"]
    assert f"plan/{plan.pk}/" in text(root.get("/admin/jobs/plan/"))


@pytest.mark.req("V-02", "Q-08")
def test_a_queue_is_emptied_by_a_plan_that_leaves_what_runs_and_what_has_ended() -> None:
    root = client_of("root")
    kept = many(2, queue="low")
    hand = Hand()
    hand.settle(hand.claim()[:1], dead)
    many(2, queue="low", process_in=600)
    page = text(root.get("/admin/jobs/queue/"))
    url = f"{NEW}?action=delete&queue=low&states=pending,scheduled,retry"
    assert url.replace("&", "&amp;") in page
    assert "queue=dead_letter&amp;states=archived" in page
    confirm_post(root, url, reason="empty")
    plan = Plan.objects.get()
    assert plan.tasks == 2
    execute(plan)
    run(plan)
    assert sorted(row(t.id, "state") for t in kept) == [2, 5]


@pytest.mark.req("A-05", "T-03", "V-12")
def test_a_plan_needs_the_same_permissions_as_its_tasks_one_by_one() -> None:
    credits.grant(user_id=1, amount=100, reason="x", actor="test")
    submit("debug:noop", queue="low", user_id=1, credits=10)
    many(1, queue="high")
    paid, free = draft("delete", {"queue": "low"}), draft("cancel", {"queue": "high"})
    viewer, operator, finance = (client_of(r) for r in ("viewer", "operator", "finance"))
    assert viewer.get(f"/admin/jobs/plan/{paid.pk}/").context["buttons"] == []
    assert viewer.get("/admin/jobs/task/?queue=low").context["bulk"] == []
    for who in (viewer, operator, finance):
        assert who.get(f"/admin/jobs/plan/{paid.pk}/execute/").status_code == 403
        assert who.post(f"/admin/jobs/plan/{paid.pk}/execute/", {}).status_code == 403
    assert len(audits("plan.execute", refused=True)) == 3
    assert client_of("admin").get(f"/admin/jobs/plan/{paid.pk}/execute/").status_code == 200
    assert operator.get(f"/admin/jobs/plan/{free.pk}/execute/").status_code == 200
    assert viewer.get(f"{NEW}?action=cancel&queue=low").status_code == 403
    assert finance.get(f"{NEW}?action=cancel&queue=low").status_code == 200
    assert finance.get(f"{NEW}?action=delete&queue=low").status_code == 403
    assert client_of(None).get("/admin/jobs/plan/").status_code == 403


@pytest.mark.req("A-05", "V-03")
def test_a_plan_that_nothing_matches_says_so_and_is_closed() -> None:
    root, plan = client_of("root"), draft("archive", {"queue": "low"})
    url = f"/admin/jobs/plan/{plan.pk}/"
    page = root.get(url)
    assert "preview: nothing matches" in text(page)
    assert "No task matches its filter" in text(page)
    assert [(b.label, b.danger) for b in page.context["buttons"]] == [("Close", False)]
    confirm_post(root, f"{url}abort/")
    assert root.get(url).context["buttons"] == []


@pytest.mark.req("A-05")
def test_the_typed_count_is_asked_for_and_a_wrong_one_changes_nothing(settings: Settings) -> None:
    settings.TASKCENTER = {**settings.TASKCENTER, "PLAN_TYPED_TASKS": 1}
    many(2, queue="low")
    plan, root = draft("archive", {"queue": "low"}), client_of("root")
    url = f"/admin/jobs/plan/{plan.pk}/execute/"
    assert "count" in root.get(url).context["form"].fields
    confirm_post(root, url, count=3)
    assert reports.get(plan.pk).state == "preview"
    assert root.post(url, {}).status_code == 422
    confirm_post(root, url, count=2)
    assert reports.get(plan.pk).state == "running"


@pytest.mark.req("A-05", "R-06", "V-07")
def test_a_redrive_asks_for_rate_and_canary(settings: Settings) -> None:
    many(3, queue="low")
    hand = Hand()
    hand.settle(hand.claim(), dead)
    root = client_of("root")
    url = f"{NEW}?action=redrive&queue=low&state=archived"
    answer = root.post(url, {"reason": "again", "rate": "0", "stop_percent": "50"})
    assert answer.status_code == 422
    root.post(url, {"reason": "again", "rate": "60", "canary": "2", "stop_percent": "40"})
    plan = Plan.objects.get()
    assert (plan.rate, plan.canary, plan.stop_percent, plan.tasks) == (60, 2, 40, 3)
    page = text(root.get(f"/admin/jobs/plan/{plan.pk}/"))
    assert "40 %" in page


@pytest.mark.req("A-06")
def test_a_read_only_installation_makes_and_executes_no_plan(
    caller: ApiClient, settings: Settings
) -> None:
    many(1, queue="low")
    plan = draft("archive", {"queue": "low"})
    settings.ASYNQ_READONLY = True
    root: Client = client_of("root")
    assert root.get(f"/admin/jobs/plan/{plan.pk}/").context["buttons"] == []
    assert root.post(f"/admin/jobs/plan/{plan.pk}/execute/", {}).status_code == 403
    error(caller.post("/plans", {"action": "archive", "filter": {"queue": "low"}}), 403)
    error(caller.post(f"/plans/{plan.pk}/execute"), 403)


@pytest.mark.req("V-03", "A-05")
def test_the_archived_list_offers_to_cancel_only_what_was_archived_by_hand() -> None:
    root = client_of("root")

    def labels(query: str) -> list[str]:
        shown = root.get(f"/admin/jobs/task/?state=archived{query}").context["bulk"]
        return [b.label for b in shown]

    submit("debug:noop")
    hand = Hand()
    hand.settle(hand.claim(), dead)
    for query in ("", "&queue=default", "&queue=dead_letter", "&status=FAILURE"):
        assert labels(query) == ["Run All", "Delete All"]
    aside = submit("debug:noop", process_in=60)
    actions.archive(aside.id, actor="test")
    assert labels("") == ["Run All", "Cancel All", "Delete All"]
    assert labels("&queue=default") == ["Run All", "Cancel All", "Delete All"]
    for query in ("&queue=low", "&queue=dead_letter", "&status=FAILURE"):
        assert labels(query) == ["Run All", "Delete All"]
