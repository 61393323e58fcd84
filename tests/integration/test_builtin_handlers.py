"""The built-in handlers, called as a worker calls them."""

import csv
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core import mail
from pytest_django import Settings

from jobs.builtin import cleanup, diagnostics, email, reports
from jobs.domain.outcomes import Discard, SkipRetry
from jobs.domain.states import Lane
from jobs.handlers import Context
from jobs.handlers.registry import handler
from jobs.models import ShardCount, TaskInfo
from jobs.operations import credits, tickets
from jobs.operations.tasks import submit
from tests.support.engine import Hand, row, succeeded
from tests.support.processes import Processes
from tests.support.wait import eventually

TASK_ID = "task_01TESTTESTTESTTESTTESTTEST"


def context(**facts: Any) -> Context:
    given = {"task_id": TASK_ID, "type": "x", "queue": "default", "attempt": 1, "retried": 0}
    return Context(**{**given, **facts})


@pytest.fixture
def storage(tmp_path: Path, settings: Settings) -> Path:
    settings.TASKCENTER = {**settings.TASKCENTER, "STORAGE_DIR": tmp_path}
    return tmp_path


def cells(folder: Path, name: str) -> list[list[str]]:
    with (folder / name).open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.req("S-09")
@pytest.mark.django_db
def test_a_mail_goes_to_the_address_that_the_user_has_when_it_is_sent() -> None:
    user = get_user_model().objects.create_user("ann", "old@example.com")
    payload = email.Email(user_id=user.pk)
    user.email = "new@example.com"
    user.save()
    result = email.deliver(payload, context())
    [sent] = mail.outbox
    assert sent.to == ["new@example.com"]
    assert sent.subject == "Welcome to Task Center, ann"
    assert (
        sent.extra_headers["Message-ID"] == f"<{TASK_ID}@taskcenter.local>" == result["message_id"]
    )


@pytest.mark.req("S-09")
@pytest.mark.django_db
def test_a_mail_sent_twice_carries_the_same_message_id() -> None:
    user = get_user_model().objects.create_user("ann", "ann@example.com")
    for attempt in (1, 2):
        email.deliver(email.Email(user_id=user.pk, template="reminder"), context(attempt=attempt))
    first, second = mail.outbox
    assert first.extra_headers["Message-ID"] == second.extra_headers["Message-ID"]


@pytest.mark.req("S-09")
@pytest.mark.django_db
@pytest.mark.parametrize("template", ["nothing-of-the-kind", "../secrets", "welcome.subject", ""])
def test_a_mail_without_a_template_is_not_tried_again(template: str) -> None:
    user = get_user_model().objects.create_user("ann", "ann@example.com")
    with pytest.raises(SkipRetry):
        email.deliver(email.Email(user_id=user.pk, template=template), context())
    assert mail.outbox == []


@pytest.mark.req("S-09")
@pytest.mark.django_db
def test_a_mail_to_nobody_is_not_tried_again() -> None:
    nameless = get_user_model().objects.create_user("bob")
    for user_id in (nameless.pk, 10**9):
        with pytest.raises(SkipRetry):
            email.deliver(email.Email(user_id=user_id), context())


@pytest.mark.req("S-09")
@pytest.mark.django_db
def test_a_subject_with_line_breaks_adds_no_headers() -> None:
    user = get_user_model().objects.create_user("ann", "ann@example.com")
    email.deliver(email.Email(user_id=user.pk, subject="Hi\r\nBcc: all@example.com"), context())
    assert mail.outbox[0].subject == "Hi Bcc: all@example.com"


@pytest.mark.req("S-09")
@pytest.mark.django_db(transaction=True)
def test_a_report_lists_tasks_by_day(storage: Path, redis: Any) -> None:
    submit("debug:noop")
    submit("debug:noop")
    result = reports.generate(reports.Report(name="tasks_by_day", params={"days": 1}), context())
    head, first = cells(storage, str(result["file"]))
    assert head[:3] == ["day", "type", "tasks"]
    assert first[1:3] == ["debug:noop", "2"]
    assert result["rows"] == 1
    assert result["bytes"] == (storage / str(result["file"])).stat().st_size


@pytest.mark.req("S-09")
@pytest.mark.django_db
def test_a_report_of_accounts_adds_up(storage: Path) -> None:
    credits.grant(user_id=5, amount=70, reason="x", actor="test")
    result = reports.generate(reports.Report(name="credits_by_account"), context())
    assert cells(storage, str(result["file"]))[1] == ["5", "70", "70", "0", "0", "0"]


@pytest.mark.req("S-09")
@pytest.mark.django_db
def test_a_report_that_runs_twice_leaves_one_whole_file(storage: Path) -> None:
    for _ in range(2):
        reports.generate(reports.Report(name="dead_letters"), context())
    assert [path.name for path in storage.iterdir()] == [f"dead_letters-{TASK_ID}.csv"]


@pytest.mark.req("S-09")
@pytest.mark.django_db
def test_a_report_that_is_cancelled_leaves_nothing(storage: Path) -> None:
    asked = context()
    asked.request_stop()
    with pytest.raises(Discard):
        reports.generate(reports.Report(name="tasks_by_day"), asked)
    assert list(storage.iterdir()) == []


@pytest.mark.req("S-09")
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("salaries", {}),
        ("tasks_by_day", {"days": 0}),
        ("tasks_by_day", {"days": "7"}),
        ("tasks_by_day", {"x": 1}),
    ],
)
def test_a_report_that_cannot_be_made_is_not_tried_again(
    storage: Path, name: str, params: dict[str, Any]
) -> None:
    with pytest.raises(SkipRetry):
        reports.generate(reports.Report(name=name, params=params), context())


@pytest.mark.req("S-09", "S28")
@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_cell_is_taken_for_a_formula(cell: str) -> None:
    assert reports.safe(cell) == "'" + cell


@pytest.mark.req("S-09")
def test_numbers_stay_numbers() -> None:
    assert [reports.safe(cell) for cell in (-5, 1.5, None, "a=b")] == [-5, 1.5, None, "a=b"]


@pytest.mark.req("S-09")
@pytest.mark.django_db(transaction=True)
def test_clean_up_removes_what_outlived_its_retention_and_nothing_else(redis: Any) -> None:
    tickets.forget()
    old, kept = submit("debug:noop", retention=0), submit("debug:noop")
    waiting = submit("debug:noop", process_in=60)
    hand = Hand()
    hand.settle(hand.claim(), succeeded)
    assert cleanup.expired(cleanup.Cleanup(), context())["removed"] == 1
    assert row(old.id, "id") is None
    assert (row(kept.id, "state"), row(waiting.id, "state")) == (6, 3)


@pytest.mark.req("S-09")
@pytest.mark.django_db(transaction=True)
def test_clean_up_stops_when_it_is_asked_to(redis: Any) -> None:
    asked = context()
    asked.request_stop()
    assert cleanup.expired(cleanup.Cleanup(), asked) == {
        "removed": 0,
        "passes": 0,
        "finished": False,
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("lane", "number"), [("async", Lane.ASYNC), ("thread", Lane.THREAD), ("process", Lane.PROCESS)]
)
def test_a_payload_may_choose_its_lane(lane: str, number: Lane, redis: Any) -> None:
    made = submit("debug:sleep", {"seconds": 0, "lane": lane})
    assert row(made.id, "lane") == number


@pytest.mark.django_db(transaction=True)
def test_a_fan_out_makes_one_task_per_shard(redis: Any) -> None:
    parent = submit("debug:fanout", {"shards": 7})
    assert ShardCount.objects.get(pk=parent.id).total == 7
    assert TaskInfo.objects.filter(type="debug:noop").count() == 7


def test_a_sleep_on_a_thread_answers_a_soft_cancel() -> None:
    asked = context()
    asked.request_stop()
    with pytest.raises(Discard):
        diagnostics.sleep(diagnostics.Sleep(seconds=60, lane="thread"), asked)


def test_every_built_in_type_is_registered() -> None:
    for name in (
        "email:deliver",
        "http:callback",
        "report:generate",
        "cleanup:expired",
        "debug:noop",
    ):
        assert handler(name).name == name


@pytest.mark.req("X-02", "X-09")
def test_diagnostics_end_as_they_should_on_a_real_worker(processes: Processes) -> None:
    tickets.forget()
    well = [
        submit("debug:sleep", {"seconds": 0.01, "lane": lane})
        for lane in ("async", "thread", "process")
    ]
    well += [submit("debug:echo", {"a": [1]}), submit("debug:fanout", {"shards": 5})]
    badly = submit("debug:fail", {"times": 9}, max_retries=0)
    processes.manage("rqworker")
    eventually(lambda: all(row(made.id, "status") == 4 for made in well), timeout_s=30)
    eventually(lambda: row(badly.id, "state", "status") == (5, 5))
