"""Payloads, results and platforms' answers at rest, and the change of keys."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from cryptography.fernet import Fernet
from pytest_django import Settings

from jobs.domain.errors import DuplicateTask, IdempotencyMismatch, Invalid
from jobs.domain.outcomes import Kind, Outcome
from jobs.operations import groups, payloads, schedules
from jobs.operations.runs import Run
from jobs.operations.tasks import submit
from jobs.selectors import schedules as schedule_views
from jobs.selectors import task_history, tasks
from jobs.selectors.task_filters import TaskFilter
from jobs.store import postgres, sealed
from jobs.worker import execution
from jobs.worker.records import Active
from tests.support import api, cli
from tests.support.engine import Hand, row, succeeded
from tests.support.platforms import Pump, Stubbed, ask, fast, pump, stub

pytestmark = pytest.mark.usefixtures("engine")

__all__ = ["fast", "pump", "stub"]
WORD = "Zuckerhut-4711"
SCHEDULED = 3


def _with(settings: Settings, **changed: Any) -> None:
    settings.TASKCENTER = {**settings.TASKCENTER, **changed}


@pytest.fixture
def encrypted(settings: Settings) -> Iterator[Settings]:
    _with(settings, ENCRYPT_PAYLOADS=True)
    yield settings
    sealed._digest_key.cache_clear()


def _found(word: str) -> list[str]:
    """Tables in which the word stands anywhere, whatever the column."""
    tables = postgres.query(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    )
    return [
        name
        for (name,) in tables
        if postgres.query(f'SELECT 1 FROM "{name}" t WHERE t::text LIKE %s LIMIT 1', [f"%{word}%"])
    ]


def _equipped(run: Run) -> tuple[Active, Outcome | None]:
    active = Active(run, "default", 1)
    return active, execution.equip(active)


def _said(run: Run) -> Outcome:
    return dataclasses.replace(succeeded(run), result={"told": WORD})


@pytest.mark.req("T-04")
def test_nothing_of_payload_headers_and_result_stands_in_any_table(
    encrypted: Settings,
) -> None:
    made = submit(
        "debug:noop",
        {"name": WORD},
        headers={"X-Word": WORD},
        unique_key=WORD,
        idempotency_key="a",
        callback_url="http://127.0.0.1:9/x",
    )
    schedules.create(name="s", cron="0 3 * * *", type="debug:noop", payload={"name": WORD})
    hand = Hand()
    hand.settle(hand.claim(), _said)
    assert row(made.id, "state", "status") == (6, 4)
    assert postgres.query("SELECT count(*) FROM task_info") == [(2,)]  # with its callback
    assert _found(WORD) == []


@pytest.mark.req("T-04")
def test_the_worker_the_callback_and_those_who_may_read_see_what_was_sent(
    encrypted: Settings,
) -> None:
    made = submit(
        "debug:sleep",
        {"seconds": 0.01, "lane": "async"},
        headers={"X-Word": WORD},
        callback_url="http://127.0.0.1:9/x",
    )
    hand = Hand()
    [run] = hand.claim()
    active, failed = _equipped(run)
    assert failed is None
    assert msgspec.to_builtins(active.payload)["seconds"] == 0.01
    hand.settle([run], _said)
    seen = msgspec.to_builtins(msgspec.json.decode(msgspec.json.encode(tasks.get(made.id))))
    assert (seen["payload"]["seconds"], seen["result"]) == (0.01, {"told": WORD})
    assert seen["headers"] == {"X-Word": WORD}
    attempts = msgspec.json.decode(msgspec.json.encode(task_history.attempts(made.id)))
    assert attempts["items"][0]["result"] == {"told": WORD}
    listed = tasks.listing(TaskFilter(type="http:callback")).items[0]
    assert listed.payload["body"]["result"] == {"told": WORD}
    assert listed.payload["headers"] == {"X-Word": WORD}


@pytest.mark.req("T-04", "S-11")
def test_a_changed_payload_and_a_schedules_payload_are_sealed_too(
    encrypted: Settings,
) -> None:
    made = submit("debug:noop", {"a": 1}, process_in=3600)
    payloads.change(made.id, {"b": WORD}, actor="test")
    schedule = schedules.create(
        name="s", cron="0 3 * * *", type="debug:noop", payload={"c": WORD, "password": "x"}
    )
    assert _found(WORD) == []
    assert msgspec.json.decode(msgspec.json.encode(tasks.get(made.id)))["payload"] == {"b": WORD}
    assert schedule_views.get(schedule.pk).payload == {"c": WORD, "password": "********"}
    schedules.change(schedule.pk, name="t")
    by_hand = schedules.run_now(schedule.pk)
    assert msgspec.json.decode(msgspec.json.encode(tasks.get(by_hand.id)))["payload"] == {
        "c": WORD,
        "password": "x",
    }


@pytest.mark.req("T-04", "S-11")
def test_the_headers_of_a_schedules_tasks_are_sealed_masked_and_sent_as_they_were_given(
    encrypted: Settings,
) -> None:
    headers = {"Authorization": f"Bearer {WORD}", "X-Shop": "1"}
    schedule = schedules.create(
        name="s", cron="0 3 * * *", type="debug:noop", payload={}, options={"headers": headers}
    )
    schedules.change(schedule.pk, name="t")
    assert _found(WORD) == []
    masked = {"Authorization": "********", "X-Shop": "1"}
    assert schedule_views.get(schedule.pk).options == {"headers": masked}
    assert tasks.get(schedules.run_now(schedule.pk).id).headers == headers
    caller = api.client("admin")
    data = api.data(caller.patch(f"/schedules/{schedule.pk}", {"queue": "low"}))
    assert data["options"] == {"headers": masked, "queue": "low"}
    assert tasks.get(schedules.run_now(schedule.pk).id).headers == headers
    assert _found(WORD) == []


@pytest.mark.req("T-04", "S-10")
def test_a_group_is_made_of_what_its_members_were_sent_with(encrypted: Settings) -> None:
    for n in range(2):
        submit("debug:collect", {"n": n, "word": WORD}, group="g")
    postgres.query("UPDATE task SET ord = ord - 3600000000 WHERE state = 7 RETURNING 1")
    assert groups.collect() == 1
    made = tasks.listing(TaskFilter(state="pending")).items[0]
    assert [member["word"] for member in made.payload["members"]] == [WORD, WORD]
    assert _found(WORD) == []


@pytest.mark.req("T-04", "E-01")
@pytest.mark.usefixtures("fast")
def test_what_a_platform_was_sent_and_answered_is_sealed(
    encrypted: Settings, stub: Stubbed, pump: Pump
) -> None:
    made = ask(seconds=0.1, output=[WORD])
    pump.ends(made)
    assert row(made.id, "status") == 4
    assert stub.created == 1
    assert "output" in str(next(iter(stub.app.predictions.values())))
    assert _found(WORD) == []
    [(answer,)] = postgres.query(
        "SELECT answer::text FROM platform_task WHERE task_id = %s", [made.id]
    )
    assert sealed.token_of(answer)
    assert msgspec.json.decode(msgspec.json.encode(tasks.get(made.id)))["result"]


@pytest.mark.req("T-04", "S-05", "S-06")
def test_sameness_is_judged_by_what_was_sent_and_kept_as_a_keyed_digest(
    encrypted: Settings,
) -> None:
    import hashlib

    first = submit("debug:noop", {"a": WORD}, idempotency_key="k")
    assert submit("debug:noop", {"a": WORD}, idempotency_key="k").id == first.id
    with pytest.raises(IdempotencyMismatch):
        submit("debug:noop", {"a": "other"}, idempotency_key="k")
    submit("debug:noop", {"a": WORD}, unique_for=60)
    with pytest.raises(DuplicateTask):
        submit("debug:noop", {"a": WORD}, unique_for=60)
    guess = msgspec.json.encode(["default", "debug:noop", {"a": WORD}], order="deterministic")
    assert _found(hashlib.sha256(b"body:" + guess).hexdigest()) == []


@pytest.mark.req("T-04", "V-02")
def test_a_search_in_encrypted_payloads_is_refused_and_says_what_to_do(
    encrypted: Settings,
) -> None:
    with pytest.raises(Invalid, match="tags or the business id"):
        tasks.listing(TaskFilter(payload={"a": "b"}))
    answer = api.client("read").get("/tasks?payload.a=b")
    assert api.error(answer, 422)["details"] == {"field": "payload"}


@pytest.mark.req("T-04")
def test_a_callers_document_that_looks_sealed_comes_back_as_it_was() -> None:
    for payload in ({"$enc": "gAAAA"}, {"$enc": "gAAAA", "a": 1}, {"$enc": 1}):
        made = submit("debug:noop", payload)
        seen = msgspec.json.decode(msgspec.json.encode(tasks.get(made.id)))
        assert seen["payload"] == payload


@pytest.mark.req("T-04", "V-04", "D-05")
def test_secrets_in_the_results_of_attempts_are_masked_wherever_attempts_are_listed() -> None:
    made = submit("debug:noop", {})
    hand = Hand()
    hand.settle(
        hand.claim(),
        lambda run: dataclasses.replace(succeeded(run), result={"api_key": WORD, "n": 1}),
    )
    caller = api.client("read")
    [attempt] = api.data(caller.get(f"/tasks/{made.task_id}/attempts"))["items"]
    assert attempt["result"] == {"api_key": "********", "n": 1}
    assert api.data(caller.get(f"/tasks/{made.task_id}"))["result"] == {"api_key": WORD, "n": 1}
    for form in ([], ["--json"]):
        assert WORD not in cli.run("tasks", "inspect", made.task_id, *form)


@pytest.mark.req("T-04")
def test_a_payload_that_no_key_opens_waits_for_a_worker_that_can_and_spoils_no_page(
    encrypted: Settings,
) -> None:
    lost = submit("debug:noop", {"a": WORD})
    _with(encrypted, SECRET_KEYS=[Fernet.generate_key().decode()])
    good = submit("debug:noop", {"b": 1})
    hand = Hand()
    runs = {run.id: run for run in hand.claim()}
    outcome = _equipped(runs[str(lost.id)])[1]
    assert outcome is not None
    assert (outcome.kind, outcome.counts) == (Kind.POSTPONED, False)
    assert _equipped(runs[str(good.id)])[1] is None
    seen = {item.task_id: item.payload for item in tasks.listing(TaskFilter()).items}
    assert seen == {good.task_id: {"b": 1}, lost.task_id: "(sealed; no present key opens it)"}
