"""A worker's life: stop, death, absence of the stores, pauses, what Redis may hold."""

import signal
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from jobs.operations import queues
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit, submit_many
from jobs.selectors import workers
from jobs.store import postgres
from taskcenter.devstack.testing import Servers
from tests.e2e.worker_support import (
    ACTIVE,
    COMPLETED,
    HANDLERS,
    PENDING,
    RETRY,
    column,
    fresh_views,
    reaches,
    sleep,
    worker,
)
from tests.support.processes import Processes
from tests.support.wait import eventually

__all__ = ["fresh_views"]


@pytest.mark.req("X-08", "AC34", "AC36")
def test_sigterm_waits_for_what_ends_in_time_and_hands_the_rest_back_to_the_head(
    processes: Processes, redis: Any
) -> None:
    process = worker(processes, "--concurrency", "3", env={"TASKCENTER_STOP_GRACE_S": "1.5"})
    short = sleep(1.0)
    long = [sleep(60), sleep(60, "thread")]
    for task in (short, *long):
        reaches(task, ACTIVE)
    waiting = sleep(0)
    assert process.stop() == 0
    assert column(short, "state") == COMPLETED
    for task in long:
        assert (column(task, "state"), column(task, "retried"), column(task, "runs")) == (
            PENDING,
            0,
            1,
        )
        assert column(task, "token") == 2
    assert redis.lrange("rq:queue:default", 0, -1) == [*(str(t) for t in long), str(waiting)]
    assert postgres.query("SELECT count(*) FROM worker WHERE dead_at IS NULL") == [(0,)]


@pytest.mark.req("X-08", "AC36")
def test_a_second_signal_hands_back_at_once(processes: Processes) -> None:
    process = worker(processes)
    task = sleep(60)
    reaches(task, ACTIVE)
    process.signal(signal.SIGINT)
    process.wait_for("stopping")
    asked_s = time.monotonic()
    process.signal(signal.SIGINT)
    process.wait(5)
    assert time.monotonic() - asked_s < 5
    assert column(task, "state") == PENDING


@pytest.mark.req("X-08", "V-05")
def test_a_worker_in_its_grace_is_shown_as_stopping(processes: Processes) -> None:
    process = worker(processes)
    reaches(sleep(60), ACTIVE)
    assert [w.state for w in workers.listing().items] == ["running"]
    process.signal(signal.SIGTERM)
    eventually(lambda: [w.state for w in workers.listing().items] == ["stopping"], timeout_s=10)
    process.signal(signal.SIGTERM)
    process.wait(5)


@pytest.mark.req("X-08")
def test_sigtstp_makes_a_worker_quiet(processes: Processes) -> None:
    process = worker(processes)
    running = sleep(1)
    reaches(running, ACTIVE)
    process.signal(signal.SIGTSTP)
    process.wait_for("quiet")
    later = sleep(0)
    reaches(running, COMPLETED)
    assert column(later, "state") == PENDING


@pytest.mark.req("X-08", "X-12")
def test_a_restart_in_the_middle_keeps_the_order(processes: Processes, tmp_path: Path) -> None:
    file = tmp_path / "order"
    payloads = [{"file": str(file), "n": n, "seconds": 0.002} for n in range(1_000)]
    submit_many([TaskRequest(type="test:append", payload=payload) for payload in payloads])
    process = worker(processes, "--concurrency", "1")
    eventually(lambda: file.exists() and len(file.read_text().split()) > 20)
    process.stop()
    assert len(file.read_text().split()) < 1_000
    worker(processes, "--concurrency", "1", "--burst").wait()
    assert [int(n) for n in file.read_text().split()] == list(range(1_000))


@pytest.mark.req("X-09", "X-07")
def test_tasks_of_a_killed_worker_run_elsewhere(processes: Processes) -> None:
    doomed = worker(processes)
    tasks = [
        sleep(8),
        sleep(8, "thread"),
        sleep(8, "process"),
    ]  # longer than a worker takes to start
    for task in tasks:
        reaches(task, ACTIVE)
    worker(processes)
    doomed.signal(signal.SIGKILL)
    eventually(lambda: all(column(task, "runs") == 2 for task in tasks), 60)  # how fast: make bench
    for task in tasks:
        reaches(task, COMPLETED, 30)
        assert column(task, "crashes") == 1
        assert column(task, "retried") == 0


@pytest.mark.req("P-03")
@pytest.mark.parametrize("point", ["after_fetch", "after_claim", "after_run", "after_settle"])
def test_a_crash_at_any_point_of_the_pipeline_loses_and_doubles_nothing(
    processes: Processes, point: str
) -> None:
    worker(processes)  # has looked at its own punctuality for long enough when it is needed
    doomed = processes.manage("rqworker", "low", env={**HANDLERS, "TASKCENTER_CRASH_AT": point})
    doomed.wait_for("[Asynq] Polling system")
    postgres.query("UPDATE queue SET weight = weight WHERE id = 1 RETURNING 1")
    tasks = [submit("debug:echo", {"n": n}, queue="low").id for n in range(20)]
    for task in tasks:
        reaches(task, COMPLETED, 30)
    counts = postgres.query(
        "SELECT count(*), count(DISTINCT task_id) FROM task_run WHERE result IS NOT NULL"
    )
    assert counts == [(20, 20)]


@pytest.mark.req("Q-08")
def test_a_paused_queue_starts_nothing_after_the_commit_of_its_pause_and_resumes_within_a_second(
    processes: Processes,
) -> None:
    worker(processes)
    submit_many([TaskRequest(type="debug:noop") for _ in range(2000)])
    queues.pause("default")
    [(paused_at,)] = postgres.query("SELECT clock_timestamp()")
    tasks = [submit("debug:noop").id for _ in range(5)]
    others = submit("debug:noop", queue="low").id
    reaches(others, COMPLETED)
    late = postgres.query(
        "SELECT count(*) FROM task WHERE queue_id = 3 AND started_at > %s", [paused_at]
    )
    assert late == [(0,)]
    queues.resume("default")
    resumed_s = time.monotonic()
    eventually(lambda: any(column(t, "started_at") for t in tasks) or column(tasks[0], "runs"), 5)
    assert time.monotonic() - resumed_s < 1.5
    eventually(lambda: postgres.query("SELECT count(*) FROM task WHERE state <> 6") == [(0,)], 15)


@pytest.mark.req("P-06")
def test_without_redis_everything_runs_from_postgres_alone(processes: Processes) -> None:
    env = {
        "ASYNQ_POLLING_ENABLED": "false",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "TASK_POLL_INTERVAL": "0.2",
    }
    process = worker(processes, env=env)
    tasks = [sleep(0.05, lane) for lane in ("async", "thread", "process")]
    again = submit("debug:fail", {"times": 1}).id
    for task in (*tasks, again):
        reaches(task, COMPLETED)
    assert process.stop() == 0


@pytest.mark.req("P-06")
def test_with_both_switches_off_a_worker_runs_nothing_and_says_so(processes: Processes) -> None:
    env = {**HANDLERS, "ASYNQ_POLLING_ENABLED": "false", "UPDATE_TASK": "false"}
    process = processes.manage("rqworker", env=env)
    process.wait_for("nothing is run")
    assert process.alive
    assert process.stop() == 0


@pytest.mark.req("P-04")
def test_workers_poll_postgres_while_redis_is_away_and_return_by_themselves(
    processes: Processes, servers: Servers
) -> None:
    process = worker(processes, env={"TASK_POLL_INTERVAL": "0.3"})
    servers.redis.kill()
    try:
        task = sleep(0.01)
        reaches(task, COMPLETED)
        process.wait_for("[兜底轮询]")
    finally:
        servers.redis.start()
    process.wait_for("Redis is back")
    after = sleep(0.01)
    reaches(after, COMPLETED, 5)


@pytest.mark.req("P-05", "AC33", "AF01")
def test_results_are_kept_while_postgres_is_away(processes: Processes, servers: Servers) -> None:
    from django.db import connection

    process = worker(processes)
    task = sleep(1.0)
    reaches(task, ACTIVE)
    connection.close()
    servers.postgres.restart()
    reaches(task, COMPLETED, 20)
    assert column(task, "runs") == 1
    assert process.alive


@pytest.mark.req("X-13", "S03")
def test_whatever_someone_writes_into_redis_only_registered_handlers_run(
    processes: Processes, redis: Any
) -> None:
    process = worker(processes)
    redis.hset(
        "rq:job:evil",
        mapping={"data": '["os.system",null,["touch /tmp/never"],{}]', "origin": "default"},
    )
    redis.rpush("rq:queue:default", "evil", "x' OR 1=1", str(UUID(int=1)))
    task = sleep(0)
    reaches(task, COMPLETED)
    eventually(lambda: redis.llen("rq:queue:default") == 0)
    assert process.alive
    eventually(lambda: redis.exists(*redis.keys("tc:inflight:*") or ["none"]) == 0)


@pytest.mark.req("S-07", "AC58")
def test_a_type_that_this_worker_does_not_know_waits_for_another_uncounted(
    processes: Processes,
) -> None:
    worker(processes, env={"TASKCENTER_HANDLERS": ""})
    task = submit("test:outcome", {"how": "well"}, max_retries=0).id
    reaches(task, RETRY)
    assert column(task, "retried") == 0
    left_s = column(task, "extract(epoch FROM run_at - clock_timestamp())")
    assert 20 < left_s < 40


@pytest.mark.req("X-10", "AF14")
def test_an_idle_worker_starts_a_new_task_at_once(processes: Processes) -> None:
    worker(processes)
    waits = []
    for _ in range(30):
        task = submit("debug:noop").id
        reaches(task, COMPLETED)
        waits.append(column(task, "extract(epoch FROM started_at - to_timestamp(ord / 1e6))"))
    assert sorted(waits)[len(waits) // 2] < 0.05


@pytest.mark.req("X-07", "AC32")
def test_a_worker_frozen_beyond_its_lease_can_write_nothing_when_it_thaws(
    processes: Processes,
) -> None:
    frozen = worker(processes)
    task = sleep(3)
    reaches(task, ACTIVE)
    other = worker(processes)
    frozen.signal(signal.SIGSTOP)
    reaches(task, COMPLETED, 25)
    after = column(task, "(token, runs, worker_id, finished_at)::text")
    frozen.signal(signal.SIGCONT)
    frozen.wait_for("declared dead; starting over")
    assert column(task, "(token, runs, worker_id, finished_at)::text") == after
    other.stop()
    again = sleep(0.01)  # under its new id it works on
    reaches(again, COMPLETED)
