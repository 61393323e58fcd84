"""The back office's schedules."""

from typing import Any

import pytest
from django.test import Client

from jobs.models import AuditEntry, Schedule, TaskInfo
from jobs.operations import schedules, tickets
from tests.integration.admin_support import audits, client_of, confirm_post, text

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def schedule(redis: Any) -> Schedule:
    tickets.forget()
    schedules.create(name="nightly", cron="0 3 * * *", type="debug:noop", payload={"n": 1})
    return Schedule.objects.get()


@pytest.fixture
def root() -> Client:
    return client_of("root")


@pytest.mark.req("V-06", "D-06")
def test_schedulers_lists_each_schedule_with_its_next_time(
    root: Client, schedule: Schedule
) -> None:
    page = text(root.get("/admin/jobs/schedule/"))
    assert "nightly" in page
    assert "0 3 * * *" in page


@pytest.mark.req("V-06", "T-06")
def test_a_schedule_is_paused_resumed_run_and_deleted(root: Client, schedule: Schedule) -> None:
    base = f"/admin/jobs/schedule/{schedule.pk}/"
    confirm_post(root, f"{base}pause/", reason="holiday")
    assert Schedule.objects.get().enabled is False
    confirm_post(root, f"{base}resume/")
    assert Schedule.objects.get().enabled is True
    confirm_post(root, f"{base}run/")
    assert TaskInfo.objects.get().type == "debug:noop"
    assert root.get(base).status_code == 200
    confirm_post(root, f"{base}delete/", reason="replaced")
    assert not Schedule.objects.exists()
    for verb in ("pause", "resume", "run", "delete"):
        assert len(audits(f"schedule.{verb}")) == 1


NEW: dict[str, Any] = {
    "name": "tidy",
    "cron": "@every 30s",
    "timezone": "Asia/Shanghai",
    "type": "debug:noop",
    "payload": '{"n": 1}',
    "options": '{"queue": "low", "headers": {"X-Token": "hush"}}',
    "missed": "once",
}


@pytest.mark.req("V-06", "T-06")
def test_a_schedule_is_made_and_changed_in_the_console(root: Client, schedule: Schedule) -> None:
    assert confirm_post(root, "/admin/jobs/schedule/new/", **NEW).status_code == 302
    made = Schedule.objects.get(name="tidy")
    assert (made.cron, made.timezone, made.missed) == ("@every 30s", "Asia/Shanghai", "once")
    assert (made.payload, made.options["queue"]) == ({"n": 1}, "low")
    page = root.get(f"/admin/jobs/schedule/{made.pk}/")
    assert len(page.context["coming"]) == 5
    url = f"/admin/jobs/schedule/{made.pk}/settings/"
    masked = '{"queue": "low", "headers": {"X-Token": "********"}}'
    assert "hush" not in text(root.get(url))
    changed = {**NEW, "cron": "0 4 * * *", "options": masked, "reason": "quieter"}
    assert confirm_post(root, url, **changed).status_code == 302
    made.refresh_from_db()
    assert (made.cron, made.options["headers"]) == ("0 4 * * *", {"X-Token": "hush"})
    [entry] = audits("schedule.change")
    assert (entry.before or {})["cron"] == "@every 30s"
    assert "hush" not in str(list(AuditEntry.objects.values()))


@pytest.mark.req("V-06")
@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"cron": "every day"}, "cron"),
        ({"cron": "@every 1ms"}, "cron"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"type": "nobody:knows"}, "type"),
        ({"name": "nightly"}, "name"),
        ({"payload": "[]"}, "payload"),
        ({"options": '{"queue": 7}'}, "options"),
        ({"options": '{"nonsense": 7}'}, "options"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_said_at_its_field(
    root: Client, schedule: Schedule, wrong: dict[str, Any], field: str
) -> None:
    answer = root.post("/admin/jobs/schedule/new/", {**NEW, **wrong})
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert Schedule.objects.count() == 1
