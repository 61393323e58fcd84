"""Limits per key under fire."""

import threading

import pytest
from django.db import connection

from jobs.operations import limits
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit, submit_many
from jobs.store import postgres
from tests.support.engine import row
from tests.support.wait import eventually

pytestmark = pytest.mark.usefixtures("engine")


def _submit_pair(gate: threading.Barrier, one: str, other: str, errors: list[Exception]) -> None:
    try:
        gate.wait(10)
        submit_many(
            [
                TaskRequest(type="debug:noop", limit_key=one, limit=1),
                TaskRequest(type="debug:noop", limit_key=other),
            ]
        )
    except Exception as error:
        errors.append(error)
    finally:
        connection.close()


@pytest.mark.req("S-12", "S-04")
def test_batches_that_name_new_keys_in_different_orders_are_all_accepted() -> None:
    errors: list[Exception] = []
    for n in range(25):
        gate = threading.Barrier(2)
        orders = [(f"z{n}", f"a{n}"), (f"a{n}", f"z{n}")]
        pair = [
            threading.Thread(target=_submit_pair, args=(gate, *order, errors)) for order in orders
        ]
        for thread in pair:
            thread.start()
        for thread in pair:
            thread.join()
        assert errors == []


@pytest.mark.req("S-12")
def test_a_rates_line_goes_on_after_the_databases_clock_was_ahead_for_a_moment() -> None:
    tasks = [submit("debug:noop", limit_key="k", limit={"rate": "10/s"}) for _ in range(12)]
    postgres.query("UPDATE task_limit SET next_at = now() + interval '1 day' RETURNING 1")
    waiting = [t for t in tasks if row(t.id, "state") == 7]
    assert waiting

    def all_let_go() -> bool:
        limits.tend()
        return not any(row(t.id, "state") == 7 for t in waiting)

    eventually(all_let_go, 5)
