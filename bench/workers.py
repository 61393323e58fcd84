"""What a worker process holds, how punctual it is, what tickets weigh, what a second process adds."""

import contextlib
from pathlib import Path

from bench import stack
from bench.figures import Figure, figure

QUEUES = ("critical", "high", "default", "scheduled", "low")


def memory(env: dict[str, str], *, tasks: int = 1_000) -> Figure:
    """F-03: the resident memory of one worker process while all its tasks sleep on the event loop."""
    stack.clean()
    _submit("debug:sleep", tasks, payload={"seconds": 30})
    with stack.worker(env, "--concurrency", str(tasks)) as process:
        stack.until(lambda: _count("state = 2") == tasks, 60)
        resident_mb = _resident_kb(process.pid) / 1024
        stack.sql("UPDATE task SET cancel = 1 WHERE state = 2 RETURNING 1")
    return figure("F-03", f"memory with {tasks:,} active tasks", [resident_mb], "MB", "< 100")


def waiting(env: dict[str, str], *, tasks: int, concurrency: int) -> Figure:
    """F-02b: tasks that wait 50 ms on the event loop; the limit is concurrency / 0.05 s."""
    stack.clean()
    _submit("debug:sleep", tasks, payload={"seconds": 0.05})
    with stack.worker(env, "--concurrency", str(concurrency)):
        stack.until(lambda: _count("state = 6") == tasks, 300)
    [(took_s,)] = stack.sql(
        "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM task"
    )
    share = 100 * tasks / float(took_s) / (concurrency / 0.05)
    what = f"tasks of 50 ms, concurrency {concurrency}, of what is possible"
    return figure("F-02b", what, [share], "%", "≥ 95 at 100" if concurrency == 100 else "")


def punctuality(env: dict[str, str], *, tasks: int) -> list[Figure]:
    """F-07: tasks due within ten seconds; a dispatched row's `ord` is its due time in microseconds."""
    from jobs.operations.requests import TaskRequest
    from jobs.operations.tasks import submit_many

    stack.clean()
    with stack.worker(env, "--concurrency", "100"):
        stack.until(lambda: _alive() > 0, 30)
        for start in range(0, tasks, 500):
            submit_many(
                [
                    TaskRequest(type="debug:noop", process_in=8 + 10 * (start + n) / tasks)
                    for n in range(500)
                ]
            )
        stack.until(lambda: _count("state = 6") == tasks, 120)
    [(earliest, p99)] = stack.sql(
        "SELECT min(late), percentile_cont(0.99) WITHIN GROUP (ORDER BY late) FROM"
        " (SELECT extract(epoch FROM started_at)::float8 - ord / 1e6 AS late FROM task) x"
    )
    return [
        figure("F-07", "earliest start of a delayed task", [earliest], "s", "≥ 0"),
        figure("F-07", "lateness of delayed tasks, p99", [p99], "s", "< 0.5"),
    ]


def ticket_bytes(*, each: int = 20_000) -> Figure:
    """F-08: Redis' memory for a pending task's ticket, over five queues."""
    from jobs.store import redis

    stack.clean()
    before = int(redis.client().info("memory")["used_memory"])
    for queue in QUEUES:
        _submit("debug:noop", each, queue=queue)
    after = int(redis.client().info("memory")["used_memory"])
    held = sum(int(redis.client().llen(f"rq:queue:{queue}")) for queue in QUEUES)
    assert held == each * len(QUEUES), f"{held} tickets"
    return figure("F-08", "Redis memory of a ticket", [(after - before) / held], "bytes", "< 536")


def second_process(env: dict[str, str], *, tasks: int, runs: int) -> Figure:
    """F-10: what a second worker process adds to no-op tasks, pairs measured one after the other."""
    gains = [
        100 * (_together(env, tasks, processes=2) / _together(env, tasks, processes=1) - 1)
        for _ in range(runs)
    ]
    return figure("F-10", "a second worker process adds", gains, "%", "≥ 40")


def _together(env: dict[str, str], tasks: int, *, processes: int) -> float:
    """Tasks a second from the moment that a paused queue is resumed; the workers are up by then."""
    from jobs.operations import queues

    stack.clean()
    queues.pause("default", reason="benchmark")
    _submit("debug:noop", tasks, queue="default")
    with contextlib.ExitStack() as running:
        for _ in range(processes):
            running.enter_context(stack.worker(env, "--concurrency", "100"))
        stack.until(lambda: _alive() == processes, 60)
        queues.resume("default")
        stack.until(lambda: _count("state = 6") == tasks, 300)
    [(took_s,)] = stack.sql(
        "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM task"
    )
    return tasks / float(took_s)


def _alive() -> int:
    return int(stack.sql("SELECT count(*) FROM worker WHERE dead_at IS NULL")[0][0])


def _submit(type_: str, tasks: int, *, payload: object = None, queue: str | None = None) -> None:
    from jobs.operations.requests import TaskRequest
    from jobs.operations.tasks import submit_many

    request = TaskRequest(type=type_, payload={} if payload is None else payload, queue=queue)
    for start in range(0, tasks, 500):
        submit_many([request] * min(500, tasks - start))


def _count(where: str) -> int:
    return int(stack.sql(f"SELECT count(*) FROM task WHERE {where}")[0][0])


def _resident_kb(pid: int) -> int:
    """VmRSS of a process on Linux."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError(f"no VmRSS of process {pid}")
