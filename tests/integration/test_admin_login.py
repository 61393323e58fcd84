"""Signing in to the console: wrong passwords lock out one user at one address, for a while."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

pytestmark = pytest.mark.django_db

URL = "/admin/login/"
TRIES = 5
PASSWORD = "the right one, 4711"


@pytest.fixture(autouse=True)
def person() -> User:
    return User.objects.create_superuser("Ann", password=PASSWORD)


def _try(password: str, *, user: str = "Ann", address: str = "192.0.2.1", **headers: str) -> Any:
    return Client(REMOTE_ADDR=address, headers=headers).post(
        URL, {"username": user, "password": password}
    )


def _lock() -> None:
    for _ in range(TRIES):
        _try("wrong")


@pytest.mark.req("T-03", "S08")
def test_after_five_wrong_passwords_the_right_one_is_refused_from_there_alone() -> None:
    for _ in range(TRIES - 1):
        assert _try("wrong").status_code == 200
    refused = _try("wrong")
    assert refused.status_code == 429
    assert refused["Retry-After"] == "900"
    assert "Try again after 15 minutes" in refused.content.decode()
    assert _try(PASSWORD).status_code == 429
    assert _try(PASSWORD, address="192.0.2.2").status_code == 302
    assert _try("wrong", user="Bob").status_code == 200


@pytest.mark.req("S08", "V-13")
def test_the_refusal_speaks_chinese_too_and_shows_nothing_of_the_console() -> None:
    _lock()
    page = _try(PASSWORD, accept_language="zh-hans").content.decode()
    assert "15 分钟" in page
    assert "/admin/jobs/" not in page
    assert 'href="/admin/login/"' in page


@pytest.mark.req("S08")
def test_the_lock_ends_after_its_pause_and_attempts_meanwhile_do_not_prolong_it() -> None:
    _lock()
    _try("wrong")
    AccessAttempt.objects.update(attempt_time=_ago(901))
    assert _try(PASSWORD).status_code == 302


@pytest.mark.req("S08")
def test_a_right_password_starts_the_count_anew() -> None:
    for _ in range(3):
        for _ in range(TRIES - 1):
            assert _try("wrong").status_code == 200
        assert _try(PASSWORD).status_code == 302


@pytest.mark.req("S08")
def test_a_forged_forwarding_header_neither_escapes_the_lock_nor_locks_others(
    settings: Settings,
) -> None:
    for n in range(TRIES):
        _try("wrong", x_forwarded_for=f"198.51.100.{n}")
    assert _try(PASSWORD).status_code == 429
    settings.TASKCENTER = {**settings.TASKCENTER, "TRUSTED_PROXIES": 1}
    proxied = {"x_forwarded_for": "203.0.113.9, 198.51.100.77"}
    for n in range(TRIES):
        _try("wrong", x_forwarded_for=f"203.0.113.{n}, 198.51.100.77")
    assert _try(PASSWORD, **proxied).status_code == 429
    assert _try(PASSWORD, x_forwarded_for="198.51.100.78").status_code == 302


@pytest.mark.req("S08")
def test_no_password_is_stored_with_an_attempt() -> None:
    _try("my-password-elsewhere")
    kept = AccessAttempt.objects.get()
    assert "my-password-elsewhere" not in f"{kept.post_data}{kept.get_data}{kept.path_info}"


def _ago(seconds: int) -> Any:
    from django.utils import timezone

    return timezone.now() - timedelta(seconds=seconds)


@pytest.mark.req("S08", "D-05")
def test_a_lock_is_ended_from_the_command_line_which_counts_in_whole_sentences() -> None:
    def said() -> str:
        out = StringIO()
        call_command("axes_reset_username", "Ann", stdout=out)
        return out.getvalue()

    _lock()
    assert said() == "1 failed login removed.\n"  # one record of all tries from one address
    assert _try(PASSWORD).status_code == 302
    assert said() == "0 failed logins removed.\n"
