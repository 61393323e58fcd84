"""Hosts whose clocks are wrong (F18, and F17's scheduler that is an hour ahead)."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.operations import schedules
from jobs.operations.requests import TaskRequest
from tests.faults import breaking_tasks
from tests.support.books import Books
from tests.support.clocks import Clocks
from tests.support.load import USERS, Fleet, accepted, charged, sized
from tests.support.processes import Processes
from tests.support.wait import eventually

pytestmark = pytest.mark.faults

_ENV = {"TASKCENTER_HANDLERS": breaking_tasks.__name__}
_AHEAD_S = 600
# Waits as the database's clock saw them: what a worker submitted, and what was submitted here.
_SUBMITTED = """
SELECT min(extract(epoch FROM t.started_at - i.created_at))::float8,
  max(extract(epoch FROM t.started_at - i.created_at))::float8, count(*)
FROM task t JOIN task_info i USING (id) WHERE i.payload ? 'by'
"""
_EARLY = """
SELECT id FROM task JOIN task_info i USING (id)
WHERE i.tags @> '{later}' AND started_at < i.created_at + interval '4 seconds'
"""
_RETRIED = """
SELECT min(extract(epoch FROM t.started_at - r.ended_at))::float8 FROM task t JOIN task_run r ON r.task_id = t.id
WHERE t.runs = 2 AND r.kind = 2
"""


@pytest.mark.req("F18", "X-07", "X-09")
def test_workers_ten_minutes_ahead_and_behind_start_nothing_early_and_take_nothing_from_each_other(
    processes: Processes, books: Books, tmp_path: Path
) -> None:
    clocks = Clocks(tmp_path)
    assert abs(_shown(clocks, _AHEAD_S) - time.time() - _AHEAD_S) < 60
    workers = [
        Fleet(processes, 1, args=("--concurrency", "20"), env={**_ENV, **clocks.env(shift_s)})
        for shift_s in (_AHEAD_S, -_AHEAD_S, 0)
    ]
    for worker in workers:
        worker.ready()
    later = TaskRequest(type="debug:noop", process_in=4, tags=["later"])
    fails_once = TaskRequest(
        type="debug:fail", payload={"times": 1}, user_id=USERS[0], credits=3, max_retries=1
    )
    submits = TaskRequest(type="break:submit", payload={"process_in": 3})
    longer = TaskRequest(  # than a lease: a clock that is ahead must not find its neighbours silent
        type="debug:sleep", payload={"seconds": 11}, user_id=USERS[1], credits=3, timeout=60
    )
    requests = [longer] * 9 + [later] * 30 + [fails_once] * 15 + [submits] * 30
    ids = accepted([*requests, *charged(sized(100, 2_000), seconds=0.1)])
    eventually(lambda: books.unfinished() == 0, sized(40, 120), every_s=0.25)
    assert books.check(accepted=ids) == []
    assert books.ask("SELECT sum(crashes) FROM task") == [(0,)]
    assert books.ask("SELECT id FROM task WHERE runs <> 1 + retried") == []
    assert books.ask(_EARLY) == []
    [(soonest_s, latest_s, count)] = books.ask(_SUBMITTED)
    assert count == 30
    assert soonest_s >= 3
    assert latest_s < 20
    assert books.ask(_RETRIED)[0][0] >= 1  # the least back-off
    assert books.ask("SELECT count(DISTINCT worker_id) FROM task_run")[0][0] == 3
    assert all(member.alive for worker in workers for member in worker.members)


def _shown(clocks: Clocks, seconds: int) -> float:
    """The time as a process with that clock sees it."""
    shown = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        env=clocks.env(seconds),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return float(shown.stdout)


@pytest.mark.req("F17", "F18", "D-06")
def test_a_scheduler_that_is_an_hour_ahead_or_behind_makes_each_tick_once_and_on_time(
    processes: Processes, books: Books, tmp_path: Path
) -> None:
    clocks = Clocks(tmp_path)
    schedules.create(name="often", cron="@every 1s", type="debug:noop")
    schedulers = [
        processes.manage("rqscheduler", "-i", "0.2", env=clocks.env(shift_s))
        for shift_s in (3600, -3600)
    ]
    for scheduler in schedulers:
        scheduler.wait_for("scheduler started", 30)
    eventually(lambda: books.ask("SELECT count(*) FROM task")[0][0] >= sized(5, 60), sized(30, 120))
    [(ticks, moments, tasks, early)] = books.ask(
        "SELECT count(*), count(DISTINCT tick_at), count(DISTINCT task_id),"
        " count(*) FILTER (WHERE tick_at > clock_timestamp()) FROM schedule_tick"
    )
    assert ticks == moments == tasks
    assert early == 0
