"""`platform:run` against the Replicate stub, by hand: ends, money, and what the stub's own log says of our calls."""

import pytest

from jobs.operations import actions, credits, duties
from jobs.store import postgres
from tests.support.engine import balance, entries, row
from tests.support.platforms import (
    SCALE,
    USER,
    Pump,
    Stubbed,
    ask,
    events,
    fact,
    fast,
    gaps,
    last_error,
    pump,
    stub,
)

pytestmark = pytest.mark.usefixtures("engine", "fast")

__all__ = ["fast", "pump", "stub"]
CHARGE, REFUND = 2, 3
SUCCESS, FAILURE, UNKNOWN, CANCELLED = 4, 5, 6, 9


@pytest.mark.req("E-01", "E-02", "R-04")
def test_a_success_is_polled_to_its_end_and_keeps_its_charge(stub: Stubbed, pump: Pump) -> None:
    made = ask(seconds=0.3, output=["a.png"])
    pump.ends(made)
    assert row(made.id, "status", "retried", "progress") == (SUCCESS, 0, 100)
    assert entries(made.id) == [(CHARGE, -30)]
    assert (stub.created, len(stub.times("POST"))) == (1, 1)
    assert fact(made, "raw_status") == "succeeded"
    result = postgres.query("SELECT result::text FROM task_run WHERE task_id = %s", [made.id])
    assert "a.png" in result[-1][0]


@pytest.mark.req("C-02", "R-04")
def test_a_failure_is_refunded_once_with_the_platforms_own_words(stub: Stubbed, pump: Pump) -> None:
    made = ask(seconds=0.1, outcome="failed")
    pump.ends(made)
    assert row(made.id, "status") == FAILURE
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]
    assert last_error(made) == "The stub was told to fail"
    assert balance(USER) == 30
    assert credits.mismatches() == []


@pytest.mark.req("C-04")
def test_a_cancel_while_waiting_refunds_at_once_and_reaches_the_platform(
    stub: Stubbed, pump: Pump
) -> None:
    made = ask(seconds=60)
    pump.until(lambda: fact(made, "external_id") is not None)
    done = actions.cancel(made.id, actor="test")
    assert (done.requested, done.refunded) == (False, True)
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]
    pump.drained()
    assert stub.cancels() == 1
    assert [p.status(0) for p in stub.app.predictions.values()] == ["canceled"]
    assert events(made) == ["cancel", "upstream_cancel"]


@pytest.mark.req("C-04")
def test_a_success_after_the_refund_is_only_noted(stub: Stubbed, pump: Pump) -> None:
    made = ask(seconds=0.2)
    pump.until(lambda: fact(made, "external_id") is not None)
    actions.cancel(made.id, actor="test")
    prediction = next(iter(stub.app.predictions.values()))
    prediction.input["seconds"] = 0  # it ended over there just before our cancel came
    pump.drained()
    assert events(made) == ["cancel", "late_success"]
    assert row(made.id, "status") == CANCELLED
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]


@pytest.mark.req("C-04")
def test_a_deleted_task_is_cancelled_on_its_platform_too(stub: Stubbed, pump: Pump) -> None:
    made = ask(seconds=60)
    pump.until(lambda: fact(made, "external_id") is not None)
    actions.delete(made.id, actor="test")
    pump.drained()
    assert (row(made.id, "state"), stub.cancels()) == (None, 1)
    assert balance(USER) == 30


@pytest.mark.req("R-04")
def test_past_its_time_limit_a_task_is_polled_once_more_cancelled_over_there_and_refunded(
    stub: Stubbed, pump: Pump
) -> None:
    made = ask(never_ends=True)
    pump.until(lambda: fact(made, "raw_status") == "processing")
    postgres.query(
        "UPDATE platform_task SET expires_at = clock_timestamp() WHERE task_id = %s RETURNING 1",
        [made.id],
    )
    polls = len(stub.polls())
    pump.drained()
    assert row(made.id, "status") == FAILURE
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]
    assert (len(stub.polls()), stub.cancels()) == (polls + 1, 1)
    calls = [e["path"].rpartition("/")[2] for e in stub.server.log() if e["method"] == "POST"]
    assert calls[-1] == "cancel"
    assert last_error(made) == "time limit; the platform's last word: processing"


@pytest.mark.req("R-04", "E-05")
def test_the_last_poll_goes_out_through_an_open_breaker_and_a_lost_cancel_is_made_up_for(
    stub: Stubbed, pump: Pump
) -> None:
    made = ask(never_ends=True)
    pump.until(lambda: fact(made, "raw_status") == "processing")
    stub.app.down = True
    postgres.query(
        "UPDATE platform_task SET expires_at = clock_timestamp() WHERE task_id = %s RETURNING 1",
        [made.id],
    )
    pump.ends(made)
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]
    assert "503" in last_error(made)
    stub.app.down = False
    pump.drained()
    assert [p.status(0) for p in stub.app.predictions.values()] == ["canceled"]


@pytest.mark.req("E-03")
@pytest.mark.parametrize("kind", ["drop", "html", "204", "500"])
def test_an_ambiguous_submit_is_parked_as_unknown_and_never_sent_again(
    stub: Stubbed, pump: Pump, kind: str
) -> None:
    made = ask(on_create=kind)
    pump.until(lambda: row(made.id, "status") == UNKNOWN)
    assert "parked" in last_error(made)
    for _ in range(3):  # an operator's impatience changes nothing
        actions.run_now(made.id, actor="test")
        pump.step()
    assert (stub.created, len(stub.times("POST")), len(stub.polls())) == (1, 1, 0)
    assert entries(made.id) == [(CHARGE, -30)]
    postgres.query(
        "UPDATE platform_task SET expires_at = clock_timestamp() WHERE task_id = %s RETURNING 1",
        [made.id],
    )
    actions.run_now(made.id, actor="test")
    pump.ends(made)
    assert row(made.id, "status") == FAILURE
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]
    assert stub.created == 1


@pytest.mark.req("E-03")
def test_a_refused_submit_that_created_nothing_is_sent_again(stub: Stubbed, pump: Pump) -> None:
    made = ask(on_create="429")
    pump.until(lambda: len(stub.times("POST")) == 2)
    assert row(made.id, "state", "status") == (4, 0)
    assert stub.created == 0
    first, second = stub.times("POST")
    assert second - first >= 1.0  # the stub's Retry-After


@pytest.mark.req("E-03")
def test_a_rejected_submit_fails_and_is_refunded(stub: Stubbed, pump: Pump) -> None:
    made = ask(on_create="422")
    pump.ends(made)
    assert row(made.id, "status") == FAILURE
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]


@pytest.mark.req("R-05")
@pytest.mark.parametrize(
    "kind", ["html", "204", "nan", "truncated", "list", "no_status", "wrong_id", "redirect", "500"]
)
def test_a_broken_answer_is_a_contact_error_and_no_end(
    stub: Stubbed, pump: Pump, kind: str
) -> None:
    made = ask(seconds=0.1, malformed=kind, malformed_polls=2)
    pump.until(lambda: fact(made, "contact_errors") == 2)
    assert row(made.id, "state", "status", "retried") == (4, 1, 0)
    pump.ends(made)
    assert row(made.id, "status") == SUCCESS
    assert fact(made, "contact_errors") == 0


@pytest.mark.req("R-04")
def test_an_empty_status_fails_at_once_and_is_refunded(stub: Stubbed, pump: Pump) -> None:
    made = ask(seconds=60, malformed="empty_status")
    pump.ends(made)
    assert (len(stub.polls()), row(made.id, "status")) == (1, FAILURE)
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]


@pytest.mark.req("R-04")
def test_three_unknowns_in_a_row_fail_with_the_platforms_own_words(
    stub: Stubbed, pump: Pump
) -> None:
    made = ask(seconds=60)
    pump.until(lambda: fact(made, "external_id") is not None)
    stub.app.predictions.clear()  # it is 404 from now on
    pump.ends(made)
    assert row(made.id, "status") == FAILURE
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]
    assert "UNKNOWN 3 times in a row" in last_error(made)
    assert "could not be found" in last_error(made)
    assert "could not be found" in fact(made, "answer::text")
    first, second = gaps(stub.polls())[-2:]
    assert 5 * SCALE <= first < 5 * SCALE * 1.1 + 0.15
    assert 10 * SCALE <= second < 10 * SCALE * 1.1 + 0.15


@pytest.mark.req("R-05")
def test_a_word_nobody_knows_is_reported_and_polled_on(stub: Stubbed, pump: Pump) -> None:
    made = ask(seconds=0.1, malformed="unknown_status", malformed_polls=3)
    pump.until(lambda: len(stub.polls()) >= 2)
    assert fact(made, "raw_status") == "pondering"
    assert row(made.id, "state", "status") == (3, 1)
    assert "'pondering'" in last_error(made)
    pump.ends(made)
    assert row(made.id, "status") == SUCCESS


@pytest.mark.req("R-04")
def test_submitted_is_polled_after_3_6_12_24_30_and_in_progress_every_3(
    stub: Stubbed, pump: Pump
) -> None:
    made = ask(seconds=100, outcome="failed")
    pump.until(lambda: stub.created == 1)
    prediction = next(iter(stub.app.predictions.values()))
    prediction.created_s += 1000  # "starting" until it is told otherwise
    pump.until(lambda: len(stub.polls()) == 6, 30)
    prediction.created_s -= 1050
    pump.until(lambda: len(stub.polls()) == 10, 30)
    prediction.created_s -= 1000
    pump.ends(made)
    found = gaps([stub.times("POST")[0], *stub.polls()])
    wanted = [3, 6, 12, 24, 30, 30, 30, 3, 3, 3]  # the 7th poll sees "processing"
    for gap, base in zip(found[:10], wanted, strict=True):
        assert base * SCALE <= gap <= base * SCALE * 1.1 + 0.15, found
    assert row(made.id, "retried") == 0


@pytest.mark.req("R-03", "R-05")
def test_contact_errors_are_spaced_by_the_platforms_profile(stub: Stubbed, pump: Pump) -> None:
    postgres.query("UPDATE platform SET profile = 'short' WHERE name = 'stub' RETURNING 1")
    made = ask(seconds=60, malformed="list")
    pump.until(lambda: len(stub.polls()) == 4, 30)
    found = gaps(stub.polls())
    for gap, base in zip(found, [3, 6, 12], strict=True):
        assert base * SCALE <= gap <= base * SCALE * 1.1 + 0.15, found
    assert fact(made, "contact_errors") in (3, 4)


@pytest.mark.req("R-03")
def test_the_120th_contact_error_in_a_row_parks_the_task_until_its_time_limit(
    stub: Stubbed, pump: Pump
) -> None:
    made = ask(seconds=60, malformed="list")
    pump.until(lambda: fact(made, "contact_errors") == 1)
    postgres.query(
        "UPDATE platform_task SET contact_errors = 119 WHERE task_id = %s RETURNING 1", [made.id]
    )
    pump.until(lambda: fact(made, "contact_errors") == 120)
    [(wait_s,)] = postgres.query(
        "SELECT extract(epoch FROM run_at - clock_timestamp())::float8 FROM task WHERE id = %s",
        [made.id],
    )
    assert wait_s > 3000
    assert row(made.id, "state") == 4
    assert entries(made.id) == [(CHARGE, -30)]


@pytest.mark.req("R-05", "R-07")
def test_a_flapping_platform_delays_and_fails_nothing(stub: Stubbed, pump: Pump) -> None:
    made = ask(seconds=0.8, flap=True)
    pump.ends(made, timeout_s=30)
    assert row(made.id, "status", "retried") == (SUCCESS, 0)


@pytest.mark.req("Q-05", "C-02")
def test_an_archived_platform_task_still_ends_at_its_time_limit_and_is_stopped_over_there(
    stub: Stubbed, pump: Pump
) -> None:
    made = ask(never_ends=True)
    pump.until(lambda: fact(made, "external_id") is not None)
    actions.archive(made.id, actor="test")
    assert duties.sweep_archived() == 0
    postgres.query(
        "UPDATE platform_task SET expires_at = clock_timestamp() WHERE task_id = %s RETURNING 1",
        [made.id],
    )
    assert duties.sweep_archived() == 1
    pump.drained()
    assert row(made.id, "state", "status") == (6, FAILURE)
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]
    assert stub.cancels() == 1
