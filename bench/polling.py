"""F-09: running platform tasks that one worker process polls; how late are the polls?

`python -m bench.polling [--batch N …] [--single N …]` measures those sizes alone.
"""

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench import stack
from bench.figures import Figure, figure
from taskcenter.devstack.testing import servers

OPTIONS = {
    "submit": {"url": "/jobs"},
    "poll": {"url": "/jobs/{id}"},
    "statuses": {"busy": "IN_PROGRESS", "waiting": "QUEUED"},
}
BATCH = {"batch": {"url": "/jobs?ids={ids}", "items": "jobs", "most": 100}}
_ROUNDS = 4
_LOOKS = 5
# Seconds that the longest due poll has waited, of those that are made without a claim and of the others.
_LATENESS = """
SELECT greatest(0, extract(epoch FROM now() - (SELECT min(poll_at) FROM platform_task))::float8,
  extract(epoch FROM now() - (SELECT min(run_at) FROM task))::float8)
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """`polls_per_s` over the looks; `late_s`: how long the longest due poll had waited at each look."""

    count: int
    delay_s: float
    polls_per_s: float
    late_s: list[float]


def figures(
    env: dict[str, str], *, batch: Sequence[int], single: Sequence[int]
) -> Iterator[Figure]:
    """How late the latest poll was at each size: the median and the worst of some looks."""
    for name, sizes, is_batch in (
        ("batch polls of 100", batch, True),
        ("single polls", single, False),
    ):
        for count in sizes:
            m = measure(env, count=count, batch=is_batch)
            what = f"{count:,} tasks, {name} every {m.delay_s:g} s: {m.polls_per_s:,.0f} polls/s, the latest"
            yield figure("F-09", what, m.late_s, "s", f"max < {m.delay_s:g}")


def measure(env: dict[str, str], *, count: int, batch: bool) -> Measured:
    """One worker process, after some rounds of polls."""
    delay_s = 3.0 if batch else 30.0
    stack.clean()
    with _stub() as port:
        _running(port, count, delay_s, batch=batch)
        with stack.worker(env, "scheduled"):
            stack.until(lambda: _polls() > 0, 30)
            time.sleep(_ROUNDS * delay_s if batch else 1.5 * delay_s)
            began_s, before = time.monotonic(), _polls()
            looks = []
            for _ in range(_LOOKS):
                time.sleep(delay_s / 2 if batch else delay_s / 4)
                looks.append(float(stack.sql(_LATENESS)[0][0]))
            rate = (_polls() - before) / (time.monotonic() - began_s)
    return Measured(count=count, delay_s=delay_s, polls_per_s=rate, late_s=looks)


@contextlib.contextmanager
def _stub() -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.poll_stub"], cwd=stack.ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait(5)


def _running(port: int, count: int, delay_s: float, *, batch: bool) -> None:
    """Tasks that were submitted over there long ago; their next polls are spread over one delay."""
    from jobs.operations import tickets
    from jobs.operations.platforms import PlatformSpec, create
    from jobs.operations.requests import TaskRequest
    from jobs.operations.tasks import submit_many
    from jobs.store import catalog, redis

    stack.sql("DELETE FROM platform_gate RETURNING 1")
    stack.sql("DELETE FROM breaker RETURNING 1")
    name = f"bench-{port}"
    create(
        PlatformSpec(
            name=name,
            protocol="generic",
            base_url=f"http://127.0.0.1:{port}",
            credential="x",
            allow_private=True,
            rate_per_s=10_000,
            time_limit=86_400,
            options={**OPTIONS, **(BATCH if batch else {})},
        )
    )
    catalog.forget()
    request = TaskRequest(type="platform:run", platform=name, payload={})
    for _ in range(0, count, 500):
        submit_many([request] * 500)
    status = 3 if batch else 2
    stack.sql(
        "UPDATE platform_task SET external_id = task_id::text, submit_started_at = now(), polls = 9,"
        " raw_status = %s, poll_at = now() + random() * %s * interval '1 second' RETURNING 1",
        ["busy" if batch else "waiting", delay_s],
    )
    stack.sql(
        "UPDATE task SET state = 3, status = %s, ticket = 0, ord = 0, started_at = now(),"
        " run_at = now() + interval '1 day' RETURNING 1",
        [status],
    )
    redis.client().flushdb()  # their tickets
    tickets.forget()


def _polls() -> int:
    return int(stack.sql("SELECT coalesce(sum(polls), 0) FROM platform_task")[0][0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, nargs="*", default=[])
    parser.add_argument("--single", type=int, nargs="*", default=[])
    options = parser.parse_args()
    with servers() as running:
        env = stack.configure(running.database_url, running.redis_url)
        for f in figures(env, batch=options.batch, single=options.single):
            print(
                f"{f.what} {f.value:.2f} s ({f.low:.2f} - {f.high:.2f}), goal {f.goal}", flush=True
            )


if __name__ == "__main__":
    main()
