"""The back office's schedules."""

from typing import Any

import pytest
from django.test import Client

from jobs.models import Schedule, TaskInfo
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
