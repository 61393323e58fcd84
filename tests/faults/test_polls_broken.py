"""Polls without a claim when processes and stores break: every task ends once, and nobody is blamed."""

import signal
import time

import pytest
from django.db import connection

from taskcenter.devstack.testing import Servers
from tests.support import faulty, hurried
from tests.support.books import Books
from tests.support.processes import Process, Processes
from tests.support.wait import eventually

pytestmark = pytest.mark.faults

FACTOR = 0.1
COUNT = 60
UP = "[Asynq] Polling system initialized"
_QUIET = (
    "SELECT count(*) FROM platform_task WHERE raw_status = 'processing' AND poll_at IS NOT NULL"
)
_ENDS = "SELECT status, max(crashes), count(*) FROM task WHERE lane = 3 GROUP BY 1"
SUCCESS = 4


def _worker(processes: Processes, **env: str) -> Process:
    return processes.manage("rqworker", "scheduled", env=hurried.environment(FACTOR, **env))


@pytest.mark.req("P-03", "X-09")
@pytest.mark.parametrize("point", ["polls_taken", "polls_claimed"])
def test_a_worker_that_dies_between_taking_polls_and_settling_their_news_costs_one_poll(
    processes: Processes, books: Books, point: str
) -> None:
    with faulty.platforms(1, profile="short", time_limit=3600) as [platform]:
        doomed = _worker(processes, TASKCENTER_CRASH_AT=point)
        doomed.wait_for(UP, 60)
        made = platform.submit(COUNT, seconds=3)
        assert doomed.wait(60) == 137
        _worker(processes).wait_for(UP, 60)
        eventually(lambda: books.unfinished() == 0, 60, every_s=0.25)
        assert len(platform.app.predictions) == COUNT
    [(status, crashes, count)] = books.ask(_ENDS)
    assert (status, count) == (SUCCESS, COUNT)
    assert crashes == 0 if point == "polls_taken" else crashes <= 1
    assert books.check(accepted=made) == []


@pytest.mark.req("X-08", "P-03")
def test_workers_that_are_stopped_while_their_polls_are_out_leave_them_to_others(
    processes: Processes, books: Books
) -> None:
    with faulty.platforms(1, profile="short", time_limit=3600) as [platform]:
        platform.slow_s = 0.3
        worker = _worker(processes)
        worker.wait_for(UP, 60)
        made = platform.submit(COUNT, seconds=6)
        for _ in range(3):
            eventually(lambda: books.ask(_QUIET)[0][0] > 0, 30)
            worker.signal(signal.SIGTERM)
            assert worker.wait(30) == 0
            worker = _worker(processes)
            worker.wait_for(UP, 60)
        eventually(lambda: books.unfinished() == 0, 60, every_s=0.25)
    assert books.ask(_ENDS) == [(SUCCESS, 0, COUNT)]
    assert books.check(accepted=made) == []


@pytest.mark.req("P-05", "P-03")
def test_answers_that_come_while_postgres_restarts_are_asked_for_again(
    processes: Processes, books: Books, servers: Servers
) -> None:
    with faulty.platforms(1, profile="short", time_limit=3600) as [platform]:
        platform.slow_s = 0.3
        worker = _worker(processes)
        worker.wait_for(UP, 60)
        made = platform.submit(COUNT, seconds=8)
        for _ in range(3):
            eventually(lambda: books.ask(_QUIET)[0][0] > 0, 30)
            servers.postgres.restart()
            connection.close()
        eventually(lambda: books.unfinished() == 0, 60, every_s=0.25)
        assert worker.alive
    assert books.ask(_ENDS) == [(SUCCESS, 0, COUNT)]
    assert books.check(accepted=made) == []
    assert "thread stumbled" not in worker.output


@pytest.mark.req("X-08")
def test_a_worker_that_was_made_quiet_polls_nothing(processes: Processes, books: Books) -> None:
    with faulty.platforms(1, profile="short", time_limit=3600) as [platform]:
        worker = _worker(processes)
        worker.wait_for(UP, 60)
        platform.submit(5, never_ends=True, seconds=100_000)
        eventually(lambda: books.ask(_QUIET)[0][0] == 5, 30)
        worker.signal(signal.SIGTSTP)
        held_s = time.time() + 1.0
        eventually(lambda: time.time() > held_s + 2.0, 5, every_s=0.05)
        assert platform.calls(since_s=held_s) == []
