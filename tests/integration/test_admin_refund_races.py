"""Who may not refund causes none, whatever happens to the task between the judgement and the lock of its row."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction

from jobs.domain.states import State
from jobs.operations import actions
from jobs.store import postgres
from tests.integration.admin_support import act_url, audits, client_of
from tests.support.engine import balance, in_state, row
from tests.support.wait import eventually

pytestmark = pytest.mark.usefixtures("engine")

_WAITS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND wait_event_type = 'Lock'"
)


@pytest.mark.req("T-06", "C-02", "V-12")
@pytest.mark.parametrize("verb", ["cancel", "delete"])
def test_a_redrive_at_the_same_moment_lets_nobody_refund_who_may_not(verb: str) -> None:
    made = in_state(State.ARCHIVED)
    browser = client_of("operator")
    redriven = threading.Event()

    def redrive() -> None:
        """Charges again; committed when the other change has been judged and waits for the row."""
        try:
            with transaction.atomic():
                actions.run_now(made.id, actor="somebody else")
                redriven.set()
                eventually(lambda: postgres.query(_WAITS)[0][0] > 0)
        finally:
            redriven.set()
            connection.close()

    with ThreadPoolExecutor(1) as somebody:
        done = somebody.submit(redrive)
        assert redriven.wait(10)
        browser.post(act_url(made.task_id, verb), {"reason": "x", "seen": "pending"})
        done.result()
    assert row(made.id, "state") == State.PENDING
    assert balance(7) == 70
    assert [e.target for e in audits(f"task.{verb}", refused=True)] == [made.task_id]
