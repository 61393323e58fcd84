"""Breakers on two levels, rate and concurrency of a platform, two-phase cancels and partial refunds."""

import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from django.db import connection

from jobs.domain.errors import Invalid
from jobs.lifecycle.breaker import service_name
from jobs.operations import actions, breakers, credits, platforms
from jobs.operations.breakers import Heard
from jobs.operations.platforms import PlatformSpec
from jobs.operations.tasks import Submitted, submit
from jobs.selectors import alerts
from jobs.selectors import platforms as reading
from jobs.selectors.figures import figures
from jobs.store import postgres
from tests.stubs import openai_stub
from tests.stubs.openai_stub import OpenAIStub
from tests.support import api
from tests.support.api import data
from tests.support.engine import balance, entries, row
from tests.support.platforms import (
    TOKEN,
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


def _later(column: str) -> None:
    """As if an hour had passed since, or over it."""
    postgres.query(
        f"UPDATE breaker SET {column} = clock_timestamp() - interval '1 hour' WHERE {column} IS NOT NULL RETURNING 1"
    )


def _waits_s(task: Submitted) -> float:
    rows = postgres.query(
        "SELECT extract(epoch FROM run_at - clock_timestamp())::float8 FROM task WHERE id = %s",
        [task.id],
    )
    return float(rows[0][0])


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


@pytest.mark.req("E-05")
def test_an_operator_holds_a_breaker_for_a_time_and_it_then_follows_the_platform_again(
    stub: Stubbed, pump: Pump
) -> None:
    breakers.force("stub", "OPEN", until_s=0.5)
    made = ask(seconds=0.1)
    pump.step()
    assert stub.server.log() == []
    assert reading.get("stub").breaker.forced == "OPEN"
    pump.ends(made)
    assert row(made.id, "status") == SUCCESS
    breakers.force(service_name(stub.server.base_url), "OPEN")
    held = ask(seconds=0.1)
    calls = len(stub.server.log())
    pump.step()
    assert len(stub.server.log()) == calls
    breakers.release(service_name(stub.server.base_url))
    _soon(held)
    pump.ends(held)
    with pytest.raises(Invalid):
        breakers.force("stub", "HALF_OPEN")


@pytest.mark.req("E-05", "V-08")
def test_a_force_whose_time_is_over_is_shown_nowhere_and_alerts_nobody(stub: Stubbed) -> None:
    service = service_name(stub.server.base_url)
    for name, state in (("stub", "OPEN"), (service, "CLOSED")):
        breakers.force(name, state, until_s=600, by="user:ann", reason="maintenance")
    held = reading.get("stub").breaker
    assert (held.forced, held.forced_by, held.forced_reason) == ("OPEN", "user:ann", "maintenance")
    assert held.forced_at is not None
    assert held.forced_until is not None
    assert "BreakerOpen" in {hit.name for hit in alerts.firing()}
    _later("forced_until")
    shown = reading.get("stub")
    assert (shown.breaker.state, shown.breaker.forced, shown.breaker.forced_by) == (
        "HALF_OPEN",
        None,
        "",
    )
    assert (shown.service_breaker.state, shown.service_breaker.forced) == ("CLOSED", None)
    assert "BreakerOpen" not in {hit.name for hit in alerts.firing()}
    assert breakers.admit("stub", service, 5).allowed == 3


@pytest.mark.req("E-05")
def test_a_force_that_is_released_early_holds_up_nobody_until_its_old_end(
    stub: Stubbed, pump: Pump
) -> None:
    for name in ("stub", service_name(stub.server.base_url)):
        breakers.force(name, "OPEN", until_s=3600)
        held = ask(seconds=0.1)
        pump.step()
        assert _waits_s(held) <= 310
        breakers.release(name)
        assert _waits_s(held) < 10
        pump.ends(held)


@pytest.mark.req("E-05")
def test_releasing_a_breaker_starts_nothing_before_its_own_time(stub: Stubbed, pump: Pump) -> None:
    breakers.force("stub", "OPEN", until_s=3600)
    credits.grant(user_id=USER, amount=1, reason="test", actor="test")
    later = submit("platform:run", {"version": "v1", "input": {}}, platform="stub", process_in=9000)
    breakers.release("stub")
    platforms.change(PlatformSpec(name="stub", enabled=False))
    platforms.change(PlatformSpec(name="stub", enabled=True))
    assert _waits_s(later) > 8000


@pytest.mark.req("E-05")
def test_a_force_during_half_open_outlives_the_probes_that_are_out(stub: Stubbed) -> None:
    for state in ("OPEN", "CLOSED"):
        for _ in range(5):
            breakers.record(breakers.admit("stub", "service:s", 1), [Heard.NOTHING])
        _later("opened_at")
        out = breakers.admit("stub", "service:s", 3)
        assert out.allowed == 3
        breakers.force("stub", state, until_s=600)
        breakers.record(out, [Heard.GOOD, Heard.GOOD, Heard.NOTHING])
        assert reading.get("stub").breaker.forced == state
        assert breakers.admit("stub", "service:none", 1).allowed == (state == "CLOSED")
        _later("forced_until")
        breakers.record(out, [Heard.GOOD, Heard.GOOD])
        assert reading.get("stub").breaker.state == ("HALF_OPEN" if state == "OPEN" else "CLOSED")
        postgres.query("DELETE FROM breaker RETURNING 1")


@pytest.mark.req("E-05", "T-06")
def test_of_two_operators_who_force_at_once_one_wins_whole(stub: Stubbed) -> None:
    start = threading.Barrier(2)

    def force(by: str, state: str) -> None:
        start.wait(10)
        for _ in range(20):
            breakers.force("stub", state, until_s=600, by=by, reason=by)
        connection.close()

    pair = [
        threading.Thread(target=force, args=given) for given in (("ann", "OPEN"), ("bob", "CLOSED"))
    ]
    for one in pair:
        one.start()
    for one in pair:
        one.join(30)
    shown = reading.get("stub").breaker
    assert (shown.forced_by, shown.forced_reason, shown.forced) in (
        ("ann", "ann", "OPEN"),
        ("bob", "bob", "CLOSED"),
    )


@pytest.mark.req("E-03", "E-05")
def test_a_wrong_credential_ends_nothing_and_the_right_one_takes_its_tasks_up_again(
    stub: Stubbed, pump: Pump
) -> None:
    over_there = ask(seconds=0.2)
    pump.until(lambda: fact(over_there, "external_id") is not None)
    platforms.change(PlatformSpec(name="stub", credential="r8_of_somebody_else"))
    here = ask(seconds=0.2)
    pump.until(lambda: (fact(over_there, "contact_errors") or 0) > 0)
    pump.until(lambda: (fact(here, "contact_errors") or 0) > 0)
    assert not {row(task.id, "status") for task in (over_there, here)} & {SUCCESS, FAILURE}
    platforms.change(PlatformSpec(name="stub", credential=TOKEN))
    breakers.force("stub", "CLOSED", until_s=60)
    _soon(over_there, here)
    pump.ends(over_there, here)
    assert [row(task.id, "status") for task in (over_there, here)] == [SUCCESS, SUCCESS]
    assert stub.created == 2


@pytest.mark.req("E-05", "M-01")
@pytest.mark.parametrize(
    "url", ["http://[::1]:8000", "https://bücher.example", "https://a_b.example:1"]
)
def test_a_service_of_any_spelling_is_named_forced_and_measured(url: str) -> None:
    register("odd", url)
    name = service_name(url)
    breakers.force(name, "OPEN")
    assert reading.get("odd").service_breaker.forced == "OPEN"
    assert api.client("admin").get("/breakers").content.decode().count("OPEN") >= 1
    released = api.client("admin").post(f"/breakers/{quote(name)}", {"state": None})
    assert data(released)["forced"] is None
    measured = next(f for f in figures() if f.name == "taskcenter_breaker_state")
    assert ((("breaker", name),), 1.0) in measured.samples


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
