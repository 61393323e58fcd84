"""Throw-away servers, worker processes and SQL for the benchmarks."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def configure(database_url: str, redis_url: str) -> dict[str, str]:
    """Point this process at the servers, set Django up, migrate; returns the environment for children."""
    os.environ.update(
        DJANGO_SETTINGS_MODULE="taskcenter.settings",
        DEBUG="false",
        SECRET_KEY="benchmark-" + "0" * 40,
        TASKCENTER_HTTPS="false",
        DATABASE_URL=database_url,
        REDIS_URL=redis_url,
        TASKCENTER_DIAGNOSTICS="true",
        TASKCENTER_LOG_LEVEL="WARNING",
    )
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    return dict(os.environ)


@contextlib.contextmanager
def worker(env: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real `manage.py rqworker` process, killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "rqworker", *arguments],
        cwd=ROOT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def sql(query: str, params: list[Any] | None = None) -> list[Any]:
    """Rows of a query on the benchmark's database."""
    from jobs.store import postgres

    return postgres.query(query, params or [])


def until(done: Callable[[], bool], timeout_s: float, every_s: float = 0.05) -> None:
    """Wait for a condition. Raises TimeoutError."""
    end_s = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > end_s:
            raise TimeoutError("the benchmark's condition did not come about")
        time.sleep(every_s)


def clean() -> None:
    """No tasks, counters or tickets, and capacities that refuse nothing; the next measurement starts empty."""
    from django.db import connection

    from jobs.operations import tickets
    from jobs.store import catalog, redis

    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE task, task_info, task_run, platform_task, stat_delta, queue_stat, unique_lock, idempotency"
        )
        cursor.execute("UPDATE queue SET capacity = 10000000, level = 0")
    catalog.forget()
    redis.client().flushdb()
    tickets.forget()
