"""The demo: its mail sink, its work, its bootstrap."""

import json
import os
import random
import re
import signal
import smtplib
from email.message import EmailMessage
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.core import mail
from django.core.management import call_command
from django.test import RequestFactory
from pytest_django import Settings

from jobs.builtin import email
from jobs.handlers import Context
from jobs.models import Account, Platform, Schedule, TaskInfo
from jobs.operations import keys, platforms, tickets
from jobs.operations.platforms import PlatformSpec
from taskcenter.demo import mail_sink, work
from taskcenter.devstack.ports import free_port
from tests.integration.admin_support import client_of, text
from tests.support import api
from tests.support.processes import Processes
from tests.support.wait import eventually


@pytest.fixture
def data(tmp_path: Path, settings: Settings) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


def message(message_id: str, subject: str = "Hello") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "tc@localhost", "ann@example.com", subject
    made["Message-ID"] = message_id
    made.set_content("Grüße <script>alert(1)</script>")
    return made


@pytest.mark.req("D-01")
def test_the_mail_sink_keeps_one_mail_per_message_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKCENTER_DEMO_SMTP_PORT", str(free_port()))
    server = mail_sink.controller(tmp_path)
    server.start()
    try:
        with smtplib.SMTP(server.hostname, server.port, timeout=5) as client:
            for subject in ("first", "again"):
                client.send_message(message("<a@x>", subject))
            client.send_message(message("<b@x>", "other"))
    finally:
        server.stop()
    assert {mail.subject for mail in mail_sink.delivered(tmp_path)} == {"again", "other"}


def test_the_mail_sink_forgets_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_sink, "KEPT", 3)
    for n in range(5):
        name = mail_sink.store(tmp_path, bytes(message(f"<{n}@x>", str(n))))
        os.utime(tmp_path / f"{name}.eml", (n, n))
    assert [mail.subject for mail in mail_sink.delivered(tmp_path)] == ["4", "3", "2"]


@pytest.mark.req("D-01", "T-03")
@pytest.mark.django_db
def test_delivered_mails_are_shown_to_staff(data: Path, settings: Settings) -> None:
    settings.ROOT_URLCONF = "tests.integration.demo_urls"
    (data / "demo-mails").mkdir()
    name = mail_sink.store(data / "demo-mails", bytes(message("<a@x>")))
    staff = client_of("viewer")
    assert "ann@example.com" in text(staff.get("/demo/mails/"))
    shown = text(staff.get(f"/demo/mails/{name}/"))
    assert "Grüße &lt;script&gt;" in shown
    assert staff.get("/demo/mails/..%2f..%2fetc/").status_code == 404
    staff.logout()
    assert staff.get("/demo/mails/").status_code == 302


@pytest.mark.req("D-01")
@pytest.mark.django_db(transaction=True)
def test_every_chore_of_the_demo_is_accepted(redis: Any) -> None:
    tickets.forget()
    platforms.create(
        PlatformSpec(name=work.PLATFORM, protocol="replicate", base_url="https://x.test")
    )
    dice = random.Random(1)
    for chore in work.CHORES:
        assert chore.do(dice) is not None
    assert set(TaskInfo.objects.values_list("type", flat=True)) == {
        "email:deliver",
        "http:callback",
        "report:generate",
        "platform:run",
        "debug:sleep",
        "debug:fail",
    }


@pytest.mark.req("D-01")
@pytest.mark.django_db(transaction=True)
def test_bootstrap_makes_a_login_and_a_key_once(data: Path, redis: Any) -> None:
    answers = []
    for _ in range(2):
        out = StringIO()
        call_command("bootstrap_demo", "--json", stdout=out)
        answers.append(json.loads(out.getvalue()))
    assert answers[0] == answers[1]
    made = answers[0]
    user = authenticate(RequestFactory().get("/"), username=made["user"], password=made["password"])
    assert user is not None
    assert user.is_superuser
    caller = keys.authenticate(made["token"])
    assert caller is not None
    assert caller.scopes == {"admin"}
    assert (Account.objects.count(), Platform.objects.count(), Schedule.objects.count()) == (
        5,
        1,
        2,
    )
    for name in ("demo-password", "demo-token", "demo-replicate-token"):
        assert (data / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.req("D-01")
@pytest.mark.django_db(transaction=True)
def test_bootstrap_replaces_a_key_that_the_database_does_not_know(data: Path, redis: Any) -> None:
    (data / "demo-token").write_text("tc_live_0123_of-another-database")
    out = StringIO()
    call_command("bootstrap_demo", "--json", stdout=out)
    assert keys.authenticate(json.loads(out.getvalue())["token"]) is not None


@pytest.mark.req("D-01", "S-09", "S-08")
def test_the_demo_runs_real_work_and_stops_on_sigterm(processes: Processes, tmp_path: Path) -> None:
    env = {
        "TASKCENTER_DATA_DIR": str(tmp_path),
        "TASKCENTER_DEMO_SMTP_PORT": str(free_port()),
        "TASKCENTER_DEMO_CALLBACK_PORT": str(free_port()),
        "TASKCENTER_DEMO_REPLICATE_PORT": str(free_port()),
        "EMAIL_HOST": "127.0.0.1",
        "EMAIL_USE_TLS": "false",
    }
    env["EMAIL_PORT"] = env["TASKCENTER_DEMO_SMTP_PORT"]
    processes.call("bootstrap_demo", "--json", env=env)
    demo = processes.manage("demo", "--every", "0.05", env=env)
    worker = processes.manage("rqworker", env=env)
    demo.wait_for("demo started")
    wanted = {"email:deliver", "http:callback", "platform:run", "debug:sleep"}
    eventually(lambda: wanted <= _succeeded(), timeout_s=60)
    assert mail_sink.delivered(tmp_path / "demo-mails")
    demo.signal(signal.SIGTERM)
    assert demo.wait() == 0
    assert worker.alive


def _succeeded() -> set[str]:
    """Types of which a task has ended well."""
    from jobs.store import postgres

    rows = postgres.query(
        "SELECT DISTINCT i.type FROM task t JOIN task_info i USING (id) WHERE t.status = 4"
    )
    return {row[0] for row in rows}


@pytest.mark.req("D-01", "S-09")
@pytest.mark.django_db
def test_the_first_example_of_the_api_page_works_after_bootstrap(data: Path, redis: Any) -> None:
    """`curl` as it is written there, and the mail that it asks for."""
    for _ in range(2):
        call_command("bootstrap_demo", stdout=StringIO())
    page = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()
    first = re.search(r"curl -sS .*?-d '(\{.*?\})'", page, re.DOTALL)
    assert first is not None
    body = json.loads(first.group(1))
    api.forget()
    made = api.data(api.client("submit").post("/tasks", body), 201)
    assert made["type"] == "email:deliver"
    context = Context(task_id=made["task_id"], type="x", queue="q", attempt=1, retried=0)
    email.deliver(email.Email(**body["payload"]), context)
    assert mail.outbox[-1].to == ["reader@example.com"]
    assert get_user_model().objects.create_user("next").pk > 100
