"""Breakers in operators' hands: held, released, over; and credentials and addresses that change or look odd."""

import threading
from urllib.parse import quote

import pytest
from django.db import connection

from jobs.domain.errors import Invalid
from jobs.lifecycle.breaker import service_name
from jobs.operations import breakers, credits, platforms
from jobs.operations.breakers import Heard
from jobs.operations.platforms import PlatformSpec
from jobs.operations.tasks import Submitted, submit
from jobs.selectors import alerts
from jobs.selectors import platforms as reading
from jobs.selectors.figures import figures
from jobs.store import postgres
from tests.support import api
from tests.support.api import data
from tests.support.engine import row
from tests.support.platforms import (
    TOKEN,
    USER,
    Pump,
    Stubbed,
    ask,
    fact,
    fast,
    pump,
    register,
    stub,
)

pytestmark = pytest.mark.usefixtures("engine", "fast")

__all__ = ["fast", "pump", "stub"]
SUCCESS, FAILURE = 4, 5


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
