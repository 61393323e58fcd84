"""A process with the wrong keys says so: health, readiness, checks, alerts; and the way to a first key of one's own."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from cryptography.fernet import Fernet
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from jobs.operations import platforms, workers
from jobs.operations.tasks import submit
from jobs.selectors import alerts, health, secrets, tasks
from jobs.store import postgres, sealed
from jobs.store import secrets as store
from taskcenter import env
from tests.support import api, cli

pytestmark = pytest.mark.usefixtures("engine")

NAME = "TASKCENTER_SECRET_KEYS"


@pytest.fixture
def encrypted(settings: Settings) -> Iterator[Settings]:
    api.forget()
    _with(settings, ENCRYPT_PAYLOADS=True)
    yield settings
    sealed._digest_key.cache_clear()
    secrets.forget()


def _with(settings: Settings, **changed: Any) -> None:
    settings.TASKCENTER = {**settings.TASKCENTER, **changed}
    sealed._digest_key.cache_clear()
    secrets.forget()


def _key() -> str:
    return Fernet.generate_key().decode()


def _worker(name: str) -> int:
    """A living worker with the keys of this moment."""
    return workers.register(name, {"concurrency": 1, "keys": store.key_ids()})


def _platform() -> None:
    spec = platforms.PlatformSpec(
        name="p", protocol="replicate", base_url="https://a.example", credential="geheim"
    )
    platforms.create(spec)


@pytest.mark.req("T-04")
def test_the_documented_steps_lead_from_the_derived_key_to_a_first_one_of_ones_own(
    encrypted: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived, new = list(encrypted.TASKCENTER["SECRET_KEYS"]), _key()

    def restarted(value: str) -> None:
        monkeypatch.setenv(NAME, value)
        _with(encrypted, SECRET_KEYS=env.fernet_keys(NAME, derived))

    restarted("")
    assert encrypted.TASKCENTER["SECRET_KEYS"] == derived
    cli.run("rotate_secrets")
    _platform()
    task = submit("debug:noop", {"a": 1}, headers={"X": "y"})
    for step in (f"derived,{new}", f"{new},derived"):
        restarted(step)
        assert health.check().secrets_unopened == 0
    cli.run("rotate_secrets")
    restarted(new)
    assert health.check().secrets_unopened == 0
    seen = msgspec.json.decode(msgspec.json.encode(tasks.get(task.id)))
    assert (seen["payload"], seen["headers"]) == ({"a": 1}, {"X": "y"})
    assert platforms.settings_by_name("p").config.credential == "geheim"


@pytest.mark.req("T-04", "D-03")
@pytest.mark.parametrize("value", ["abc", "geheim", f"{'A' * 43}=,x"])
def test_what_is_no_key_stops_the_start_and_is_not_shown(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NAME, value)
    with pytest.raises(env.WrongValue, match="TASKCENTER_SECRET_KEYS: one of the keys") as stopped:
        env.fernet_keys(NAME, [])
    assert value not in str(stopped.value)


@pytest.mark.req("T-04", "M-05")
def test_web_with_a_wrong_key_is_not_healthy_not_ready_and_an_alert_fires(
    encrypted: Settings,
) -> None:
    cli.run("rotate_secrets")
    _platform()
    _worker("w")
    assert health.check().healthy
    assert Client().get("/readyz").status_code == 200
    right = encrypted.TASKCENTER["SECRET_KEYS"]
    _with(encrypted, SECRET_KEYS=[_key()])
    seen = health.check()
    assert (seen.healthy, seen.secrets_unopened) == (False, 2)
    ready = Client().get("/readyz")
    told = "cannot open 2 of 2 stored secrets: key missing"
    assert (ready.status_code, ready.json()["secrets"]) == (503, told)
    assert "SecretsUnopened" in {alert.name for alert in alerts.firing()}
    assert api.data(api.client("admin").get("/queue/health"))["secrets_unopened"] == 2
    _with(encrypted, SECRET_KEYS=right)
    assert Client().get("/readyz").json() == {"status": "ok", "postgres": "up"}
    assert "SecretsUnopened" not in {alert.name for alert in alerts.firing()}


@pytest.mark.req("T-04", "M-05")
def test_one_secret_of_a_lost_key_is_told_and_leaves_web_ready(encrypted: Settings) -> None:
    cli.run("rotate_secrets")
    _platform()
    submit("debug:noop", {"a": 1})
    postgres.query(
        "UPDATE platform SET credential_sealed = %s RETURNING 1",
        [Fernet(_key()).encrypt(b"x").decode()],
    )
    secrets.forget()
    ready = Client().get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")
    assert ready.json()["secrets"] == "cannot open 1 of 3 stored secrets: key missing"
    assert health.check().secrets_unopened == 1


@pytest.mark.req("T-04", "M-05", "M-06")
def test_a_worker_with_a_wrong_key_makes_health_red_although_web_has_the_right_one(
    encrypted: Settings,
) -> None:
    cli.run("rotate_secrets")
    submit("debug:noop", {"a": 1})
    right = encrypted.TASKCENTER["SECRET_KEYS"]
    _worker("good")
    assert health.check().healthy
    _with(encrypted, SECRET_KEYS=[_key()])
    bad = _worker("bad")
    _with(encrypted, SECRET_KEYS=right)
    seen = health.check()
    assert (seen.healthy, seen.secrets_unopened) == (False, 2)
    assert "SecretsUnopened" in {alert.name for alert in alerts.firing()}
    assert Client().get("/readyz").status_code == 200
    postgres.query("UPDATE worker SET dead_at = now() WHERE id = %s RETURNING 1", [bad])
    secrets.forget()
    assert health.check().healthy


@pytest.mark.req("T-04", "T-07")
def test_the_check_of_the_database_names_missing_keys(
    encrypted: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.run("rotate_secrets")
    call_command("check", databases=["default"])
    assert "W002" not in "".join(capsys.readouterr())
    _with(encrypted, SECRET_KEYS=[_key()])
    call_command("check", databases=["default"])
    assert "1 of 1 stored secrets cannot be opened" in "".join(capsys.readouterr())


@pytest.mark.req("T-04")
def test_keys_of_tenants_do_not_hear_of_the_houses_secrets(encrypted: Settings) -> None:
    seen = api.data(api.client("read").get("/queue/health"))
    assert seen["secrets_unopened"] is None
    assert msgspec.json.encode(store.key_ids()) != b"[]"
