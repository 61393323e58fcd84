"""A worker's size while it runs, what it says of its Redis, and work from many queues."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.operations import workers
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit_many
from jobs.selectors import workers as living
from jobs.store import postgres
from tests.e2e.worker_support import COMPLETED, UP, fresh_views, reaches, sleep, worker
from tests.support import load
from tests.support.processes import Process, Processes
from tests.support.wait import eventually
from tests.support.wire import Wire

__all__ = ["fresh_views"]


def _active() -> int:
    return int(postgres.query("SELECT count(*) FROM task WHERE state = 2")[0][0])


def _cpu_s(process: Process) -> float:
    """Processor time used by a process and its threads."""
    user, system = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.req("B-02")
def test_concurrency_is_raised_and_lowered_while_a_worker_runs(processes: Processes) -> None:
    process = worker(processes, "--concurrency", "2")
    submit_many([TaskRequest(type="debug:sleep", payload={"seconds": 0.3})] * 400)
    eventually(lambda: _active() == 2)
    [view] = living.listing().items
    workers.set_concurrency(view.id, 6)
    eventually(lambda: _active() == 6, 3)
    eventually(lambda: living.listing().items[0].concurrency == 6)
    process.signal(signal.SIGTTIN)
    eventually(lambda: _active() == 7, 3)
    workers.set_concurrency(view.id, 6)  # the same as before, but asked for anew
    eventually(lambda: _active() == 6, 3)
    for _ in range(6):
        process.signal(signal.SIGTTOU)
        process.wait_for("concurrency changed")
    workers.set_concurrency(view.id, 1)
    eventually(lambda: _active() == 1, 5)
    for _ in range(20):
        assert _active() <= 1
    process.signal(signal.SIGTTOU)  # never below one
    assert process.stop() == 0
    assert postgres.query("SELECT sum(crashes), max(retried) FROM task") == [(0, 0)]


@pytest.mark.req("T-07")
def test_a_redis_that_may_evict_tickets_is_warned_of_at_the_start(
    processes: Processes, redis: Any
) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        process = worker(processes)
        process.wait_for("REDIS MAY EVICT TICKETS")
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
    quiet = worker(processes)
    assert "EVICT" not in quiet.output


@pytest.mark.req("AC16", "Q-02")
def test_tasks_in_all_weighted_queues_are_done_and_none_stays_active(processes: Processes) -> None:
    names = ("critical", "high", "default", "scheduled", "low")
    submit_many([TaskRequest(type="debug:noop", queue=n) for n in names for _ in range(50)])
    worker(processes, "--burst").wait()
    done = postgres.query("SELECT state, count(*) FROM task GROUP BY 1")
    assert done == [(COMPLETED, 250)]


@pytest.mark.req("X-02", "F-02")
def test_isolated_tasks_follow_each_other_at_once_while_other_slots_are_free(
    processes: Processes,
) -> None:
    worker(processes)
    first = sleep(0.01, "process")  # its children are started by now
    reaches(first, COMPLETED)
    payload = {"seconds": 0.01, "lane": "process"}
    submit_many([TaskRequest(type="debug:sleep", payload=payload)] * 20)
    since_s = time.monotonic()
    eventually(lambda: postgres.query("SELECT count(*) FROM task WHERE state = 6") == [(21,)], 60)
    assert time.monotonic() - since_s < 10


@pytest.mark.req("AC35", "AF15", "P-04")
def test_a_worker_that_starts_without_redis_waits_idly_and_uses_it_when_it_comes(
    processes: Processes,
) -> None:
    with Wire(load.redis_port()) as wire:
        wire.cut()
        env = {"REDIS_URL": wire.through(os.environ["REDIS_URL"]), "TASK_POLL_INTERVAL": "0.5"}
        process = processes.manage("rqworker", env=env)
        process.wait_for(UP)
        reaches(sleep(0.01), COMPLETED)
        used_s, since_s = _cpu_s(process), time.monotonic()
        eventually(lambda: time.monotonic() - since_s > 2)
        assert _cpu_s(process) - used_s < 0.5 * (time.monotonic() - since_s)
        wire.heal()
        process.wait_for("Redis is back")
        reaches(sleep(0.01), COMPLETED)
        assert process.stop() == 0
