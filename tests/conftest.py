"""Every test runs on a real PostgreSQL and Redis, started here before Django reads its settings."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
import redis as redis_py
from pytest_django.plugin import DjangoDbBlocker, blocking_manager_key

from taskcenter.devstack.testing import Servers
from tests.support import environment
from tests.support.processes import Processes


def pytest_sessionstart(session: pytest.Session) -> None:
    """One pair of servers per xdist worker; nothing in the process that only distributes tests."""
    option = session.config.option
    if "PYTEST_XDIST_WORKER" not in os.environ and getattr(option, "numprocesses", None):
        return
    environment.prepare(start_servers=not option.collectonly)
    try:
        django.setup()
    except ImportError as error:  # tests of pure code still run; whoever needs Django hears why
        environment.broken = error
    if blocking_manager_key in session.config.stash:
        session.config.stash[blocking_manager_key].block()


def pytest_unconfigure() -> None:
    environment.dispose()


@pytest.fixture(scope="session")
def _importable() -> None:
    if environment.broken is not None:
        raise environment.broken


@pytest.fixture(scope="session")
def django_db_setup(
    _importable: None, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> None:
    """After pytest-django's own: transactional tests return to the migrations' rows, not to empty."""
    from django.test import TransactionTestCase

    from tests.support.database import Baseline

    with django_db_blocker.unblock():
        baseline = Baseline()
    TransactionTestCase._fixture_teardown = (  # type: ignore[attr-defined]  # Django's own hook
        lambda _self: baseline.restore()
    )


@pytest.fixture(scope="session")
def servers() -> Servers:
    """Handles on the servers: `.postgres.restart()`, `.redis.kill()`, `.redis.start()`, …"""
    if environment.running is None:
        pytest.skip("the servers are not ours to stop (TASKCENTER_TEST_URLS=1)")
    return environment.running


@pytest.fixture
def redis() -> Iterator["redis_py.Redis[str]"]:
    """A client on the tests' Redis, flushed before the test; answers are text."""
    client = redis_py.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def processes(transactional_db: None, redis: "redis_py.Redis[str]") -> Iterator[Processes]:
    """Starts real `manage.py` processes on the test database; all are gone after the test."""
    with Processes(env=_test_urls()) as started:
        yield started


@pytest.fixture(scope="module")
def _web(django_db_setup: None, request: pytest.FixtureRequest) -> Iterator[str]:
    extra = getattr(request.module, "WEB_ENV", {})
    with Processes(env={**_test_urls(), **extra}) as started:
        yield started.web()


@pytest.fixture
def live(_web: str, transactional_db: None, redis: "redis_py.Redis[str]") -> str:
    """Base URL of a real web server on the test database, one per test module (`WEB_ENV`: its own env)."""
    return _web


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser's program; skips without one, except in CI."""
    name = os.environ.get("TASKCENTER_CHROMIUM", "")
    found = name or shutil.which("chromium") or shutil.which("chromium-browser")
    if found and Path(found).exists():
        return Path(found)
    message = "no Chromium: install Debian's chromium or set TASKCENTER_CHROMIUM"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def _test_urls() -> dict[str, str]:
    from django.db import connection

    base = os.environ["DATABASE_URL"].rpartition("/")[0]
    return {"DATABASE_URL": f"{base}/{connection.settings_dict['NAME']}"}
