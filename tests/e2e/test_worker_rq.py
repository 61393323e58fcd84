"""What RQ's own tools see and do: info, suspend, stop-job, a stock worker; pools and schedulers."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from rq.command import send_stop_job_command
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend

from jobs.operations import schedules
from jobs.operations.tasks import submit
from jobs.store import postgres
from tests.e2e.worker_support import (
    ACTIVE,
    COMPLETED,
    PENDING,
    column,
    fresh_views,
    gone,
    reaches,
    sleep,
    worker,
)
from tests.support.processes import Processes
from tests.support.wait import eventually

__all__ = ["fresh_views"]

BIN = Path(sys.executable).parent


def raw() -> Any:
    """A client as RQ wants it: bytes."""
    return redis_py.Redis.from_url(os.environ["REDIS_URL"])


def rq_info(*args: str) -> str:
    argv = [str(BIN / "rq"), "info", "--url", os.environ["REDIS_URL"], "--raw", *args]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout


@pytest.mark.req("X-01")
def test_rq_info_shows_the_worker_and_the_right_numbers(processes: Processes) -> None:
    worker(processes, "--concurrency", "2", "--name", "the-worker")
    running = [sleep(30), sleep(30)]
    for task in running:
        reaches(task, ACTIVE)
    for _ in range(3):
        sleep(0)
    eventually(lambda: "busy" in rq_info("--only-workers"))
    assert "worker the-worker" in rq_info("--only-workers")
    lines = [line for line in rq_info("--only-queues").splitlines() if " default " in line]
    assert lines == ["queue default 3, 2 executing, 0 finished, 0 failed"]
    for task in running:  # looking at them did not end them
        assert column(task, "state") == ACTIVE


@pytest.mark.req("X-01")
def test_rq_suspend_and_resume_reach_a_running_worker(processes: Processes) -> None:
    process = worker(processes)
    suspend(raw())
    process.wait_for("suspended by rq")
    task = submit("debug:noop").id
    assert column(task, "state") == PENDING
    resume(raw())
    reaches(task, COMPLETED, 4)


@pytest.mark.req("X-04")
def test_rqs_stop_job_command_cancels_exactly_that_task(processes: Processes) -> None:
    worker(processes)
    task, other = sleep(30), sleep(2)
    reaches(task, ACTIVE)
    reaches(other, ACTIVE)
    send_stop_job_command(raw(), str(task), serializer=JSONSerializer)
    reaches(task, COMPLETED, 4)
    assert column(task, "status") == 9
    reaches(other, COMPLETED)
    assert column(other, "status") == 4


@pytest.mark.req("X-13", "S30")
def test_a_stock_rq_worker_is_slow_but_not_wrong(processes: Processes) -> None:
    tasks = [submit("debug:echo", {"n": 1}).id, sleep(0.1, "thread"), submit("debug:noop").id]
    process = processes.run(
        [
            *(str(BIN / "rq"), "worker", "default", "--burst", "--url", os.environ["REDIS_URL"]),
            *("--serializer", "rq.serializers.JSONSerializer", "--worker-class", "rq.SimpleWorker"),
        ],
        env={"DJANGO_SETTINGS_MODULE": "taskcenter.settings"},
    )
    assert process.wait(60) == 0, process.output
    for task in tasks:
        assert (column(task, "state"), column(task, "status")) == (COMPLETED, 4), process.output


@pytest.mark.req("X-01")
def test_burst_ends_when_nothing_is_left(processes: Processes) -> None:
    tasks = [sleep(0.2, lane) for lane in ("async", "thread", "process")]
    process = worker(processes, "--burst")
    assert process.wait(30) == 0
    for task in tasks:
        assert column(task, "state") == COMPLETED


@pytest.mark.req("X-01", "X-12")
def test_a_pool_replaces_a_dead_worker_and_stops_all_of_them(processes: Processes) -> None:
    pool = processes.manage("rqworker-pool", "--num-workers", "2")

    def alive() -> list[int]:
        return [
            r[0]
            for r in postgres.query("SELECT (stats->>'pid')::int FROM worker WHERE dead_at IS NULL")
        ]

    eventually(lambda: len(alive()) == 2, 20)
    first = alive()
    os.kill(first[0], signal.SIGKILL)
    eventually(lambda: set(alive()) - set(first), 20)
    assert pool.stop() == 0
    eventually(lambda: all(gone(pid) for pid in alive()))


@pytest.mark.req("X-01")
def test_a_queue_that_does_not_exist_stops_the_start_with_a_clear_line(
    processes: Processes,
) -> None:
    process = processes.manage("rqworker", "nosuch")
    assert process.wait() == 1
    assert "nosuch" in process.output
    assert "Traceback" not in process.output


@pytest.mark.req("D-06", "AC38", "AF13")
@pytest.mark.parametrize("redis_on", [True, False])
def test_two_schedulers_make_exactly_one_task_per_tick(
    processes: Processes, redis_on: bool
) -> None:
    env = (
        {} if redis_on else {"ASYNQ_POLLING_ENABLED": "false", "REDIS_URL": "redis://127.0.0.1:1/0"}
    )
    schedules.create(name="often", cron="@every 1s", type="debug:noop")
    schedulers = [processes.manage("rqscheduler", "-i", "0.2", env=env) for _ in range(2)]
    for scheduler in schedulers:
        scheduler.wait_for("scheduler started")
    made = eventually(
        lambda: (n := postgres.query("SELECT count(*) FROM task")[0][0]) >= 3 and n, 15
    )
    ticks = postgres.query(
        "SELECT count(*), count(DISTINCT tick_at), count(task_id) FROM schedule_tick"
    )
    assert ticks[0][0] == ticks[0][1] == ticks[0][2] >= made
    for scheduler in schedulers:
        assert scheduler.stop() == 0
    tasks = postgres.query("SELECT count(*) FROM task")[0][0]
    ticks = postgres.query("SELECT count(*) FROM schedule_tick WHERE task_id IS NOT NULL")
    assert ticks == [(tasks,)]
