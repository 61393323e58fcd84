"""What is told of a task on its platform is what happened: polls, submits that left, reasons that are true."""

import pytest

from jobs.domain import ids
from jobs.operations import breakers
from jobs.selectors import tasks
from jobs.store import postgres
from tests.integration.admin_support import client_of, text
from tests.support.engine import row
from tests.support.platforms import Pump, Stubbed, ask, fact, fast, last_error, pump, stub

pytestmark = pytest.mark.usefixtures("engine", "fast")

__all__ = ["fast", "pump", "stub"]


@pytest.mark.req("V-04", "E-05")
@pytest.mark.parametrize("claimed", [False, True])
def test_a_poll_that_was_postponed_is_no_poll_and_not_the_last_one(
    stub: Stubbed, pump: Pump, claimed: bool
) -> None:
    made = ask(never_ends=True)
    pump.until(lambda: fact(made, "raw_status") == "processing")
    breakers.force("stub", "OPEN", by="user:ann", reason="outage")
    before = (fact(made, "polls"), fact(made, "polled_at"))
    requests = len(stub.server.log())
    if claimed:
        postgres.query("UPDATE platform_task SET poll_at = NULL RETURNING 1")
        postgres.query("UPDATE task SET run_at = clock_timestamp() WHERE state = 3 RETURNING 1")
    else:
        postgres.query("UPDATE platform_task SET poll_at = clock_timestamp() RETURNING 1")
    assert pump.step()
    assert len(stub.server.log()) == requests
    assert (fact(made, "polls"), fact(made, "polled_at")) == before


@pytest.mark.req("V-04", "V-05", "E-03")
def test_a_submit_without_an_answer_is_told_with_its_time_and_that_it_is_never_sent_again(
    stub: Stubbed, pump: Pump
) -> None:
    made = ask(on_create="drop")
    pump.until(lambda: row(made.id, "status") == 6)
    left = fact(made, "submit_started_at")
    assert left is not None and fact(made, "polled_at") is None
    page = text(client_of("viewer").get(f"/admin/jobs/task/{ids.public_id(made.id)}/"))
    assert "never sent again" in page and "for its next try" not in page
    assert "its answer never came" in page
    assert left.isoformat() in page or f"{left:%Y-%m-%d %H:%M:%S}" in page


@pytest.mark.req("R-04", "E-02")
def test_a_strange_word_at_the_time_limit_is_not_its_reason(stub: Stubbed, pump: Pump) -> None:
    made = ask(never_ends=True, malformed="unknown_status")
    pump.until(lambda: "pondering" in last_error(made))
    postgres.query("UPDATE platform_task SET expires_at = clock_timestamp() RETURNING 1")
    pump.ends(made)
    assert last_error(made) == "time limit; the platform's last word: 'pondering'"
    assert tasks.get(made.id).fail_reason == "time limit; the platform's last word: 'pondering'"
