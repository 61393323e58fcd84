"""The measurements, one function a figure; each returns rows for the table."""

import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from bench import stack

MIX = (("critical", 6), ("default", 3), ("low", 1))


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured value; `low` and `high` over the runs."""

    id: str
    what: str
    value: float
    low: float
    high: float
    unit: str
    goal: str = ""


def throughput(env: dict[str, str], *, tasks: int, runs: int, concurrency: int) -> Figure:
    """F-02a: no-op tasks over three queues, from the first start to the last settled row."""
    rates = [_drain(env, tasks, concurrency) for _ in range(runs)]
    return figure(
        "F-02a",
        f"durable no-op tasks, 1 worker, concurrency {concurrency}",
        rates,
        "tasks/s",
        "≥ 5,000",
    )


def _drain(env: dict[str, str], tasks: int, concurrency: int) -> float:
    from jobs.operations.requests import TaskRequest
    from jobs.operations.tasks import submit_many

    stack.clean()
    share = tasks // 10
    requests = [
        TaskRequest(type="debug:noop", queue=queue) for queue, n in MIX for _ in range(n * share)
    ]
    for start in range(0, len(requests), 500):
        submit_many(requests[start : start + 500])
    with stack.worker(env, "--concurrency", str(concurrency)):
        stack.until(
            lambda: stack.sql("SELECT count(*) FROM task WHERE state = 6")[0][0] == len(requests),
            300,
        )
    [(took_s,)] = stack.sql(
        "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM task"
    )
    return len(requests) / float(took_s)


def submit_rates(*, runs: int) -> list[Figure]:
    """F-01c: submit() and submit_many() in Python, one process."""
    from jobs.operations.requests import TaskRequest
    from jobs.operations.tasks import submit, submit_many

    single: list[float] = []
    bulk: list[float] = []
    for _ in range(runs):
        stack.clean()
        started_s = time.perf_counter()
        for _ in range(500):
            submit("debug:noop")
        single.append(500 / (time.perf_counter() - started_s))
        requests = [TaskRequest(type="debug:noop") for _ in range(500)]
        started_s = time.perf_counter()
        for _ in range(10):
            submit_many(requests)
        bulk.append(5000 / (time.perf_counter() - started_s))
    return [
        figure("F-01c", "submit(), one at a time", single, "tasks/s", "≥ 1,500"),
        figure("F-01c", "submit_many(), 500 at a time", bulk, "tasks/s", "≥ 10,000"),
    ]


def rq_peer(redis_url: str, worker_class: str, *, tasks: int, runs: int) -> Figure:
    """RQ's own workers on the same Redis server: no rows, results kept by RQ."""
    rates = []
    for _ in range(runs):
        rates.append(_rq_drain(redis_url, worker_class, tasks))
    return figure("F-02a", f"peer: rq {worker_class}", rates, "tasks/s", "")


def _rq_drain(redis_url: str, worker_class: str, tasks: int) -> float:
    import redis
    from rq import Queue

    url = redis_url.rsplit("/", 1)[0] + "/9"
    connection = redis.Redis.from_url(url)
    connection.flushdb()
    queue = Queue("peer", connection=connection)
    queue.enqueue_many([Queue.prepare_data("time.time") for _ in range(tasks)])
    command = [
        sys.executable,
        "-m",
        "rq.cli",
        "worker",
        "--burst",
        "-q",
        "-u",
        url,
        "-w",
        worker_class,
        "peer",
    ]
    started_s = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        stack.until(lambda: queue.count < tasks, 60, 0.005)
        started_s = time.perf_counter()
        process.wait(300)
    finally:
        if process.poll() is None:
            process.kill()
    return tasks / (time.perf_counter() - started_s)


def pick_up(env: dict[str, str], *, tasks: int) -> list[Figure]:
    """F-04: an idle worker, one task every 20 ms; from the insert to the durable claim, by the database's clock."""
    from jobs.operations.tasks import submit

    stack.clean()
    with stack.worker(env, "--concurrency", "10"):
        stack.until(lambda: bool(stack.sql("SELECT 1 FROM worker WHERE dead_at IS NULL")), 30)
        submit("debug:noop")
        stack.until(lambda: stack.sql("SELECT count(*) FROM task WHERE state = 6")[0][0] == 1, 30)
        for _ in range(tasks):
            submit("debug:noop")
            time.sleep(0.02)
        stack.until(
            lambda: stack.sql("SELECT count(*) FROM task WHERE state = 6")[0][0] == tasks + 1, 60
        )
    waits = sorted(
        row[0]
        for row in stack.sql(
            "SELECT extract(epoch FROM t.started_at - i.created_at)::float8 * 1000"
            " FROM task t JOIN task_info i USING (id)"
        )
    )
    return [
        figure("F-04", "pick-up by an idle worker, p50", [statistics.median(waits)], "ms", "< 4"),
        figure(
            "F-04", "pick-up by an idle worker, p99", [waits[int(len(waits) * 0.99)]], "ms", "< 10"
        ),
    ]


def recovery(env: dict[str, str], *, tries: int) -> Figure:
    """F-05: kill -9 a worker under a running task; how long until the task runs elsewhere."""
    from jobs.operations.tasks import submit

    times = []
    for _ in range(tries):
        stack.clean()
        with stack.worker(env, "--concurrency", "2") as first:
            submit("debug:sleep", {"seconds": 2})
            stack.until(lambda: bool(stack.sql("SELECT 1 FROM task WHERE state = 2")), 30)
            with stack.worker(env, "--concurrency", "2"):
                stack.until(
                    lambda: (
                        stack.sql("SELECT count(*) FROM worker WHERE dead_at IS NULL")[0][0] >= 2
                    ),
                    30,
                )
                os.kill(first.pid, signal.SIGKILL)
                killed_s = time.perf_counter()
                stack.until(lambda: bool(stack.sql("SELECT 1 FROM task WHERE runs >= 2")), 60)
                times.append(time.perf_counter() - killed_s)
    return figure("F-05", "recovery after kill -9", times, "s", "max < 15")


def figure(id_: str, what: str, values: list[float], unit: str, goal: str) -> Figure:
    return Figure(
        id=id_,
        what=what,
        value=statistics.median(values),
        low=min(values),
        high=max(values),
        unit=unit,
        goal=goal,
    )


def as_json(figures: list[Figure]) -> list[dict[str, Any]]:
    return [vars(f) for f in figures]
