"""Breakers on two levels, rate and concurrency of a platform, two-phase cancels and partial refunds."""

import threading
from collections.abc import Iterator

import pytest
from django.db import connection

from jobs.lifecycle.breaker import service_name
from jobs.operations import actions, breakers, credits
from jobs.operations.breakers import Heard
from jobs.operations.tasks import Submitted, submit
from jobs.store import postgres
from tests.stubs import openai_stub
from tests.stubs.openai_stub import OpenAIStub
from tests.support.engine import balance, entries, row
from tests.support.platforms import (
    USER,
    Pump,
    Stubbed,
    ask,
    events,
    fact,
    fast,
    pump,
    register,
    stub,
)

pytestmark = pytest.mark.usefixtures("engine", "fast")

__all__ = ["fast", "pump", "stub"]
CHARGE, REFUND = 2, 3
SUCCESS, FAILURE, CANCELLED = 4, 5, 9


def _state(name: str) -> str:
    rows = postgres.query("SELECT state FROM breaker WHERE name = %s", [name])
    return str(rows[0][0]) if rows else "CLOSED"


def _soon(*tasks: Submitted) -> None:
    """As if their time had come."""
    for task in tasks:
        postgres.query(
            "UPDATE task SET run_at = clock_timestamp() WHERE id = %s AND state IN (3, 4) RETURNING 1",
            [task.id],
        )


@pytest.mark.req("E-05", "R-05")
def test_both_breakers_open_and_postponed_polls_use_up_nothing(
    stub: Stubbed, pump: Pump, caplog: pytest.LogCaptureFixture
) -> None:
    made = [ask(seconds=0.1) for _ in range(6)]
    pump.until(lambda: stub.created == 6)
    stub.app.down = True
    pump.until(lambda: _state("platform:stub") == "OPEN")
    service = service_name(stub.server.base_url)
    assert _state(service) == "OPEN"
    calls = len(stub.server.log())
    _soon(*made)
    errors = [fact(task, "contact_errors") for task in made]
    pump.step()
    assert len(stub.server.log()) == calls
    assert [fact(task, "contact_errors") for task in made] == errors
    assert [row(task.id, "state", "retried") for task in made] == [(3, 0)] * 6
    stub.app.down = False
    pump.ends(*made, timeout_s=30)
    assert [row(task.id, "status") for task in made] == [SUCCESS] * 6
    assert (_state("platform:stub"), _state(service)) == ("CLOSED", "CLOSED")
    text = caplog.text
    for line in ("CLOSED -> OPEN (failures=5)", "OPEN -> HALF_OPEN", "HALF_OPEN -> CLOSED"):
        assert f"[CircuitBreaker] stub: {line}" in text
    assert service.removeprefix("service:") in text


@pytest.mark.req("E-05")
def test_a_half_open_window_lets_exactly_three_requests_out_over_all_workers(
    stub: Stubbed, pump: Pump
) -> None:
    made = [ask(seconds=60) for _ in range(12)]
    pump.until(lambda: stub.created == 12)
    stub.app.down = True
    pump.until(lambda: _state("platform:stub") == "OPEN")
    postgres.query(
        "UPDATE breaker SET opened_at = clock_timestamp() - interval '1 hour' RETURNING 1"
    )
    calls = len(stub.server.log())
    others = [Pump() for _ in range(3)]
    _soon(*made)
    try:
        claimed = pump.step()
        for other in others:
            claimed += other.step()
    finally:
        for other in others:
            other.close()
    assert len(claimed) == 12
    assert len(stub.server.log()) - calls == 3
    assert _state("platform:stub") == "OPEN"


@pytest.mark.req("E-05")
def test_probes_are_shared_by_threads_that_ask_at_the_same_moment(stub: Stubbed) -> None:
    for _ in range(5):
        admission = breakers.admit("stub", "service:s", 1)
        breakers.record(admission, [Heard.NOTHING])
    postgres.query(
        "UPDATE breaker SET opened_at = clock_timestamp() - interval '1 hour' RETURNING 1"
    )
    allowed: list[int] = []

    def one() -> None:
        allowed.append(breakers.admit("stub", "service:s", 2).allowed)
        connection.close()

    threads = [threading.Thread(target=one) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(allowed) == 3


@pytest.mark.req("E-05")
def test_a_refused_credential_opens_its_platform_and_not_its_neighbour_on_the_same_service(
    stub: Stubbed, pump: Pump
) -> None:
    register("expired", stub.server.base_url, credential="wrong")
    refused = [ask("expired", seconds=0.1) for _ in range(5)]
    pump.until(lambda: _state("platform:expired") == "OPEN")
    assert _state(service_name(stub.server.base_url)) == "CLOSED"
    good = ask(seconds=0.1)
    pump.ends(good)
    assert [row(task.id, "state") for task in refused] == [4] * 5


@pytest.mark.req("E-05")
def test_a_broken_service_holds_up_all_its_platforms(stub: Stubbed, pump: Pump) -> None:
    register("other", stub.server.base_url)
    stub.app.down = True
    failing = [ask("other", seconds=0.1) for _ in range(5)]
    pump.until(lambda: _state(service_name(stub.server.base_url)) == "OPEN")
    calls = len(stub.server.log())
    waits = ask(seconds=0.1)
    pump.step()
    assert len(stub.server.log()) == calls
    assert row(waits.id, "state", "status") == (3, 0)
    stub.app.down = False
    pump.ends(waits, *failing, timeout_s=30)


@pytest.mark.req("R-07")
def test_a_platforms_concurrency_is_the_most_tasks_open_over_there(
    stub: Stubbed, pump: Pump
) -> None:
    postgres.query("UPDATE platform SET max_concurrency = 2 WHERE name = 'stub' RETURNING 1")
    made = [ask(seconds=0.2) for _ in range(5)]
    pump.step()
    assert stub.created == 2
    waiting = [task for task in made if fact(task, "external_id") is None]
    assert [row(task.id, "state", "status", "retried") for task in waiting] == [(3, 0, 0)] * 3
    most = 0
    while any(row(task.id, "state") != 6 for task in made):
        _soon(*made)
        pump.step()
        [(open_count,)] = postgres.query(
            "SELECT count(*) FROM platform_task WHERE submit_started_at IS NOT NULL AND ended_at IS NULL"
        )
        most = max(most, open_count)
    assert most == 2
    assert [row(task.id, "status") for task in made] == [SUCCESS] * 5


@pytest.mark.req("R-07")
def test_a_platforms_rate_postpones_what_is_too_much(stub: Stubbed, pump: Pump) -> None:
    postgres.query("UPDATE platform SET rate_per_s = 10 WHERE name = 'stub' RETURNING 1")
    made = [ask(seconds=0) for _ in range(20)]
    pump.ends(*made, timeout_s=30)
    times = sorted(stub.times("POST") + stub.polls())
    assert len(times) >= 40
    busiest = max(sum(1 for at in times if start <= at < start + 1.0) for start in times)
    assert busiest <= 2 * 10
    assert times[-1] - times[0] >= (len(times) - 6) / 10 - 0.2
    assert [row(task.id, "retried") for task in made] == [0] * 20


@pytest.fixture
def batches() -> Iterator[OpenAIStub]:
    server, app = openai_stub.serve()
    with server:
        register("batches", server.base_url, "openai_batch", credential="tok")
        yield app


def _batch(**metadata: str) -> Submitted:
    credits.grant(user_id=USER, amount=30, reason="test", actor="test")
    payload = {"endpoint": "/v1/x", "requests": [{"n": 1}], "metadata": metadata}
    return submit("platform:run", payload, platform="batches", user_id=USER, credits=30)


def _only(app: OpenAIStub) -> dict[str, object]:
    [batch] = app.batches.values()
    return batch


@pytest.mark.req("C-04")
def test_where_a_cancel_only_asks_the_platforms_word_ends_the_task_and_what_it_billed_is_kept(
    batches: OpenAIStub, pump: Pump
) -> None:
    made = _batch()
    pump.until(lambda: fact(made, "external_id") is not None)
    done = actions.cancel(made.id, actor="test")
    assert (done.requested, done.refunded) == (True, False)
    pump.until(lambda: _only(batches)["status"] == "cancelling")
    pump.until(lambda: fact(made, "raw_status") == "cancelling")
    assert row(made.id, "state", "status") == (3, 3)
    assert entries(made.id) == [(CHARGE, -30)]
    assert fact(made, "cancel_answer") == "CancelRequested"
    _only(batches)["status"] = "cancelled"  # one request of four was completed
    pump.ends(made)
    assert row(made.id, "status") == CANCELLED
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 23)]
    assert balance(USER) == 23
    assert credits.mismatches() == []


@pytest.mark.req("C-04")
def test_a_two_phase_cancel_can_lose_the_race_and_then_refunds_nothing(
    batches: OpenAIStub, pump: Pump
) -> None:
    made = _batch()
    pump.until(lambda: fact(made, "external_id") is not None)
    assert actions.cancel(made.id, actor="test").requested
    _only(batches)["metadata"] = {"status": "completed"}
    pump.ends(made)
    assert row(made.id, "status") == SUCCESS
    assert entries(made.id) == [(CHARGE, -30)]
    assert fact(made, "cancel_answer") == "TooLate"


@pytest.mark.req("C-04")
def test_force_ends_a_two_phase_task_now_and_asks_the_platform_until_it_has_stopped(
    batches: OpenAIStub, pump: Pump
) -> None:
    made = _batch()
    pump.until(lambda: fact(made, "external_id") is not None)
    done = actions.cancel(made.id, actor="test", force=True)
    assert (done.requested, done.refunded) == (False, True)
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]
    pump.until(lambda: _only(batches)["status"] == "cancelling")
    _only(batches)["metadata"] = {"status": "completed"}
    postgres.query("UPDATE task SET run_at = clock_timestamp() WHERE state IN (3, 4) RETURNING 1")
    pump.drained()
    assert events(made) == ["cancel", "late_success"]
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]


@pytest.mark.req("E-03")
def test_an_ambiguous_submit_is_found_by_our_reference(batches: OpenAIStub, pump: Pump) -> None:
    made = _batch(on_create="drop")
    pump.until(lambda: fact(made, "external_id") is not None)
    assert len(batches.batches) == 1
    assert fact(made, "external_id") == _only(batches)["id"]


@pytest.mark.req("E-03")
def test_only_a_second_not_here_lets_a_submit_be_sent_again(
    batches: OpenAIStub, pump: Pump
) -> None:
    made = _batch(on_create="drop")
    pump.until(lambda: len(batches.batches) == 1)
    batches.batches.clear()
    pump.until(lambda: fact(made, "unknowns") == 1)
    assert fact(made, "submit_started_at") is not None
    pump.until(lambda: len(batches.batches) == 1)
    assert entries(made.id) == [(CHARGE, -30)]
