"""The console's optional second factor: no page without a code, whatever the password."""

import base64
import json
from urllib.parse import parse_qs, urlparse

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django_otp.oath import totp
from pytest_django import Settings

from jobs.domain.errors import NotFound
from jobs.models import AuditEntry
from jobs.operations import second_factor
from tests.support.cli import run

pytestmark = [pytest.mark.django_db, pytest.mark.req("S07")]

URL = "/admin/login/"
PASSWORD = "the right one, 4711"


@pytest.fixture(autouse=True)
def person(settings: Settings) -> User:
    settings.TASKCENTER = {**settings.TASKCENTER, "SECOND_FACTOR": True}
    return User.objects.create_superuser("Ann", password=PASSWORD)


def _code(url: str) -> str:
    """What Ann's app shows now."""
    [secret] = parse_qs(urlparse(url).query)["secret"]
    return f"{totp(base64.b32decode(secret)):06d}"


def _signed_in(code: str | None) -> Client:
    client = Client()
    form = {"username": "Ann", "password": PASSWORD, "next": "/admin/"}
    client.post(URL, form if code is None else {**form, "otp_token": code})
    return client


def _opens(client: Client) -> bool:
    return bool(client.get("/admin/").status_code == 200)


def test_a_password_alone_opens_nothing_and_a_code_of_the_device_does() -> None:
    made = second_factor.enroll("Ann", codes=0)
    assert not _opens(_signed_in(None))
    assert not _opens(_signed_in("000000" if _code(made.url) != "000000" else "000001"))
    second_factor.enroll("Ann", codes=0)  # a wrong code makes the old device wait
    assert not _opens(_signed_in(_code(made.url)))


def test_the_code_signs_in_once() -> None:
    code = _code(second_factor.enroll("Ann", codes=0).url)
    assert _opens(_signed_in(code))
    assert not _opens(_signed_in(code))


def test_a_spare_code_is_good_once() -> None:
    made = second_factor.enroll("Ann", codes=2)
    assert _opens(_signed_in(made.codes[0]))
    assert not _opens(_signed_in(made.codes[0]))


def test_somebody_without_a_device_is_told_that_a_code_is_asked_for() -> None:
    page = Client().post(URL, {"username": "Ann", "password": PASSWORD})
    assert "Enter the code that your device shows." in page.content.decode()
    page = Client(headers={"accept-language": "zh-hans"}).post(
        URL, {"username": "Ann", "password": PASSWORD}
    )
    assert "请输入设备上显示的验证码" in page.content.decode()


def test_a_session_from_before_the_setting_is_sent_to_the_login(settings: Settings) -> None:
    client = Client()
    client.force_login(User.objects.get(username="Ann"))
    assert not _opens(client)
    settings.TASKCENTER = {**settings.TASKCENTER, "SECOND_FACTOR": False}
    assert _opens(client)


def test_the_command_enrolls_removes_and_is_audited_without_the_secret() -> None:
    made = json.loads(run("second_factor", "set", "Ann", "--yes", "--json"))
    assert len(made["codes"]) == 8
    assert _opens(_signed_in(_code(made["url"])))
    run("second_factor", "remove", "Ann", "--yes")
    assert not _opens(_signed_in(_code(made["url"])))
    actions = list(AuditEntry.objects.order_by("id").values_list("action", "target"))
    assert actions == [("second_factor.set", "user:Ann"), ("second_factor.remove", "user:Ann")]
    assert made["codes"][0] not in str(list(AuditEntry.objects.values()))


def test_nobody_else_can_be_enrolled() -> None:
    with pytest.raises(NotFound):
        second_factor.enroll("Nobody", codes=1)
