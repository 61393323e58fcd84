"""Many threads at one limit: never more than n, and nobody is forgotten."""

import threading

import pytest
from django.db import connection

from jobs.operations import actions, limits, runs
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import Submitted, submit, submit_many
from jobs.store import postgres
from tests.faults.test_races import together
from tests.support.engine import Hand, retried, succeeded
from tests.support.load import sized

pytestmark = pytest.mark.faults

_THREADS = 16


def _line(count: int) -> int:
    """A line of one place; returns the limit's id."""
    submit_many([TaskRequest(type="debug:noop", limit_key="k", limit=1)] * count)
    return int(postgres.query("SELECT id FROM task_limit")[0][0])


def _placed() -> int:
    return int(postgres.query("SELECT count(*) FROM task WHERE state IN (1, 2)")[0][0])


@pytest.mark.req("S-12", "AC59")
@pytest.mark.usefixtures("books")
def test_sixteen_threads_that_let_tasks_go_let_no_more_go_than_there_are_places() -> None:
    rounds = sized(10, 50)
    limit_id = _line(rounds * 10)
    for places in range(10, rounds * 10, 10):
        postgres.query("UPDATE task_limit SET concurrency = %s RETURNING 1", [places])
        together(_THREADS, lambda _: limits.admit_soon([limit_id]))
        assert _placed() == places


@pytest.mark.req("S-12", "AC59")
@pytest.mark.usefixtures("books")
def test_submits_ends_retries_and_cancels_at_once_keep_the_limit_and_leave_nobody_behind() -> None:
    done, most = threading.Event(), [0]

    def watch() -> None:
        while not done.is_set():
            most[0] = max(most[0], _placed())
        connection.close()

    def work(n: int) -> None:
        hand = Hand(f"hand-{n}")
        for turn in range(sized(15, 100)):
            made = submit("debug:noop", limit_key="k", limit=3)
            claimed = hand.claim(2)
            if claimed:
                runs.settle(
                    hand.id, [(retried if turn % 5 == 0 else succeeded)(r) for r in claimed]
                )
            if turn % 4 == n % 4:
                _cancel(made)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        together(_THREADS, work)
    finally:
        done.set()
        watcher.join()
    assert 1 <= most[0] <= 3
    _run_the_rest()


def _cancel(task: Submitted) -> None:
    from jobs.domain.errors import IllegalTransition

    try:
        actions.cancel(task.id, actor="test")
    except IllegalTransition:
        return  # it has ended meanwhile


def _run_the_rest() -> None:
    """Whoever still stands in line gets its turn by ends alone, without the duty."""
    hand = Hand("last")
    for _ in range(sized(15, 100) * _THREADS):
        claimed = runs.claim(
            hand.id, [r[0] for r in postgres.query("SELECT id::text FROM task WHERE state = 1")]
        )
        if not claimed:
            break
        runs.settle(hand.id, [succeeded(run) for run in claimed])
    assert postgres.query("SELECT count(*) FROM task WHERE state IN (1, 2, 7)") == [(0,)]
