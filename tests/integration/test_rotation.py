"""The change of keys: `rotate_secrets` comes by everything sealed, and proves it."""

import re
from typing import Any

import msgspec
import pytest
from cryptography.fernet import Fernet
from django.core.management.base import CommandError
from django.db import transaction
from django.utils import timezone
from pytest_django import Settings

from jobs.domain.errors import Misconfigured
from jobs.models import DigestKey, Platform, PlatformTask, Schedule
from jobs.operations import payloads, platforms, rotation, schedules
from jobs.operations.tasks import submit
from jobs.selectors import schedules as schedule_views
from jobs.selectors import secrets as secret_views
from jobs.selectors import tasks
from jobs.selectors.task_filters import TaskFilter
from jobs.store import postgres, sealed, secrets
from tests.integration.test_encryption import WORD, _found, _said, _with, encrypted
from tests.support import api, cli
from tests.support.engine import Hand

pytestmark = pytest.mark.usefixtures("engine")

__all__ = ["encrypted"]


def _rows_of_everything() -> dict[str, Any]:
    made = submit("debug:noop", {"a": WORD}, headers={"X-Word": WORD}, idempotency_key="k")
    schedule = schedules.create(
        name="s",
        cron="0 3 * * *",
        type="debug:noop",
        payload={"c": WORD},
        options={"headers": {"X-Word": WORD}, "queue": "low"},
    )
    platforms.create(
        platforms.PlatformSpec(
            name="p", protocol="replicate", base_url="https://a.example", credential=f"cred {WORD}"
        )
    )
    hand = Hand()
    hand.settle(hand.claim(), _said)
    return {"task": made, "schedule": schedule}


def _readable(made: dict[str, Any]) -> None:
    seen = msgspec.json.decode(msgspec.json.encode(tasks.get(made["task"].id)))
    assert (seen["payload"], seen["result"]) == ({"a": WORD}, {"told": WORD})
    assert seen["headers"] == {"X-Word": WORD}
    assert schedule_views.get(made["schedule"].pk).payload == {"c": WORD}
    options = {"headers": {"X-Word": WORD}, "queue": "low"}
    kept = Schedule.objects.get(pk=made["schedule"].pk).options
    assert sealed.opened_headers(kept) == options
    assert platforms.settings_by_name("p").config.credential == f"cred {WORD}"
    assert submit("debug:noop", {"a": WORD}, headers={"X-Word": WORD}, idempotency_key="k").existing


@pytest.mark.req("T-04")
def test_after_a_rotation_the_old_key_is_not_needed_any_more(encrypted: Settings) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    cli.run("rotate_secrets")
    _with(encrypted, SECRET_KEYS=[old, *encrypted.TASKCENTER["SECRET_KEYS"]])
    cli.run("rotate_secrets")
    _with(encrypted, SECRET_KEYS=[old])
    made = _rows_of_everything()
    answered = _kept_answer()
    _with(encrypted, SECRET_KEYS=[new, old])
    _readable(made)
    counted = cli.run_json("rotate_secrets", "--dry-run")
    assert {r["place"]: r["changed"] for r in counted} == {
        "digest_key.sealed": 1,
        "platform.credential_sealed": 1,
        "platform.webhook_secret_sealed": 0,
        "idempotency.answer": 1,
        "schedule.payload": 1,
        "schedule.options": 1,
        "task_info.payload": 1,
        "task_info.options": 1,
        "platform_task.answer": 0,
        "task_run.result": 1,
    }
    assert cli.run_json("rotate_secrets") == counted
    assert all(r["changed"] == 0 for r in cli.run_json("rotate_secrets"))
    _with(encrypted, SECRET_KEYS=[new])
    sealed._digest_key.cache_clear()
    _readable(made)
    assert _kept_answer() == answered
    assert _found(WORD) == []


def _kept_answer() -> Any:
    """A change through the API whose answer is kept for its idempotency key."""
    caller = api.client("admin")
    answer = caller.post("/tenants", {"slug": "acme", "name": "Acme"}, Idempotency_Key="once")
    return api.data(answer, 201)


@pytest.mark.req("T-04")
def test_switching_on_seals_and_switching_off_opens_what_is_stored(
    settings: Settings,
) -> None:
    _with(settings, ENCRYPT_PAYLOADS=False)
    looks = submit("debug:noop", {"$enc": WORD})
    made = submit("debug:noop", {"a": WORD})
    _with(settings, ENCRYPT_PAYLOADS=True)
    cli.run("rotate_secrets")
    assert _found(WORD) == []
    _with(settings, ENCRYPT_PAYLOADS=False)
    with pytest.raises(CommandError, match="and 1 documents are sealed"):
        cli.run("rotate_secrets")
    assert _found(WORD) == []
    cli.run("rotate_secrets", "--open")
    assert postgres.query("SELECT payload::text FROM task_info WHERE id = %s", [made.id]) == [
        (msgspec.json.format(msgspec.json.encode({"a": WORD}), indent=0).decode(),)
    ]
    seen = msgspec.json.decode(msgspec.json.encode(tasks.get(looks.id)))
    assert seen["payload"] == {"$enc": WORD}


@pytest.mark.req("T-04")
def test_a_rotation_goes_through_many_rows_and_names_those_that_no_key_opens(
    encrypted: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.operations.rotation.BATCH", 3)
    for n in range(10):
        submit("debug:noop", {"n": n})
    lost = submit("debug:noop", {"a": 1})
    postgres.query(
        "UPDATE task_info SET payload = jsonb_build_object('$enc', 'gAAAA') WHERE id = %s RETURNING 1",
        [lost.id],
    )
    old = encrypted.TASKCENTER["SECRET_KEYS"]
    _with(encrypted, SECRET_KEYS=[Fernet.generate_key().decode(), *old])
    with pytest.raises(CommandError, match="keep the others"):
        cli.run("rotate_secrets")
    _with(encrypted, SECRET_KEYS=encrypted.TASKCENTER["SECRET_KEYS"][:1])
    payloads_now = {str(item.payload) for item in tasks.listing(TaskFilter(), limit=50).items}
    assert payloads_now == {
        "(sealed; no present key opens it)",
        *(str({"n": n}) for n in range(10)),
    }
    assert DigestKey.objects.count() == 1
    assert (Platform.objects.count(), Schedule.objects.count()) == (0, 0)


@pytest.mark.req("T-04")
def test_a_row_that_changes_meanwhile_is_not_overwritten(encrypted: Settings) -> None:
    made = submit("debug:noop", {"a": 1}, process_in=3600)
    place = next(p for p in rotation._places() if p.name == "task_info.payload")
    [(key, old)] = postgres.query("SELECT id::text, payload::text FROM task_info")
    payloads.change(made.id, {"a": 2}, actor="test")
    assert rotation._write(place, [(key, old, sealed.seal('{"a": 1}'))]) == 0
    assert msgspec.json.decode(msgspec.json.encode(tasks.get(made.id)))["payload"] == {"a": 2}
    with pytest.raises(Misconfigured):
        sealed.opened('{"$enc": "gAAAA"}')


_COPIES = 1_150
_KINDS = {  # of each table that holds sealed columns: what tells a copy from the row it is copied from
    "platform": "'id', o.id + n, 'name', o.name || n",
    "idempotency": "'key', o.key || n",
    "schedule": "'id', o.id + n, 'name', o.name || n",
    "task_info": "'id', gen_random_uuid()",
    "platform_task": "'task_id', gen_random_uuid()",
    "task_run": "'id', o.id + n, 'task_id', gen_random_uuid()",
}


def _copied(table: str) -> None:
    """Its rows so many times, without foreign keys and triggers."""
    with transaction.atomic():
        postgres.query("SELECT set_config('session_replication_role', 'replica', true)")
        postgres.query(
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE"
            f" SELECT (jsonb_populate_record(NULL::{table}, to_jsonb(o) || jsonb_build_object({_KINDS[table]}))).*"
            f" FROM {table} o, generate_series(1, {_COPIES}) n RETURNING 1"
        )


def _stored(place: str) -> list[str]:
    table, column = place.split(".")
    rows = postgres.query(f"SELECT {column}::text FROM {table} WHERE {column} IS NOT NULL")
    return [re.sub(r'.*"(gAAAA[^"]*)".*', r"\1", row[0]) for row in rows]


def _rows_of_every_kind() -> None:
    made = _rows_of_everything()
    platforms.change(platforms.PlatformSpec(name="p", webhook_secret="w" * 20))
    _kept_answer()
    PlatformTask.objects.create(
        task_id=made["task"].id,
        platform_id=Platform.objects.get().pk,
        expires_at=timezone.now(),
        answer=sealed.close_value({"told": 1}),
    )
    for table in _KINDS:
        _copied(table)


@pytest.mark.req("T-04")
def test_a_rotation_comes_by_every_row_of_every_table_however_many(encrypted: Settings) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    cli.run("rotate_secrets")
    _with(encrypted, SECRET_KEYS=[old, *encrypted.TASKCENTER["SECRET_KEYS"]])
    cli.run("rotate_secrets")
    _rows_of_every_kind()
    _with(encrypted, SECRET_KEYS=[new, old])
    reports = cli.run_json("rotate_secrets")
    for report in reports:
        tokens = _stored(report["place"])
        stale = [t for t in tokens if t.startswith("gAAAA") and not secrets.is_fresh(t)]
        assert (report["place"], stale) == (report["place"], [])
        assert report["rows"] == len(tokens), report
        assert report["place"] == "digest_key.sealed" or len(tokens) > _COPIES
        assert (report["left"], report["unreadable"]) == (0, 0)
    assert all(r["changed"] == 0 for r in cli.run_json("rotate_secrets"))


@pytest.mark.req("T-04")
def test_a_rotation_that_leaves_something_stale_says_so_and_fails(
    encrypted: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        submit("debug:noop", {"n": n})
    new = Fernet.generate_key().decode()
    _with(encrypted, SECRET_KEYS=[new, *encrypted.TASKCENTER["SECRET_KEYS"]])
    walk = rotation._batch
    monkeypatch.setattr("jobs.operations.rotation._batch", lambda *place: walk(*place)[1:])
    with pytest.raises(CommandError, match="keep the others"):
        cli.run("rotate_secrets")


@pytest.mark.req("T-04")
def test_health_looks_at_the_oldest_documents_too(encrypted: Settings) -> None:
    first = submit("debug:noop", {"n": 0})
    for n in range(45):
        submit("debug:noop", {"n": n})
    postgres.query(
        "UPDATE task_info SET payload = jsonb_build_object('$enc', 'gAAAA') WHERE id = %s RETURNING 1",
        [first.id],
    )
    secret_views.forget()
    seen = secret_views.unopened()
    assert seen is not None
    assert seen.here == 1
    secret_views.forget()
