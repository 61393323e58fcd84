"""What the worker's tests share: workers as processes, and their books read by SQL."""

import json
import os
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from jobs.operations import tickets
from jobs.operations.tasks import Submitted, submit
from jobs.store import catalog, postgres
from tests.e2e import worker_tasks
from tests.support.processes import Process, Processes
from tests.support.wait import eventually

HANDLERS = {"TASKCENTER_HANDLERS": worker_tasks.__name__, "TASKCENTER_LOG_LEVEL": "INFO"}
UP = "[Asynq] Polling system initialized successfully"

PENDING, ACTIVE, SCHEDULED, RETRY, ARCHIVED, COMPLETED = 1, 2, 3, 4, 5, 6


@pytest.fixture(autouse=True)
def fresh_views(processes: Processes) -> None:
    """This process remembers neither the epoch nor the queues of an earlier test (import it to use it)."""
    tickets.forget()
    catalog.forget()


def worker(processes: Processes, *args: str, env: dict[str, str] | None = None) -> Process:
    """A running worker that says that it is up."""
    process = processes.manage("rqworker", *args, env={**HANDLERS, **(env or {})})
    process.wait_for(UP)
    return process


def sleep(seconds: float, lane: str = "async", **options: Any) -> UUID:
    return submit("debug:sleep", {"seconds": seconds, "lane": lane}, **options).id


def column(task: UUID | Submitted, name: str) -> Any:
    task_id = task if isinstance(task, UUID) else task.id
    rows = postgres.query(f"SELECT {name} FROM task WHERE id = %s", [task_id])
    return rows[0][0] if rows else None


def reaches(task: UUID | Submitted, state: int, timeout_s: float = 15) -> None:
    """Wait until the task is in `state`."""
    eventually(lambda: column(task, "state") == state, timeout_s)


def errors(task: UUID) -> list[str]:
    rows = postgres.query(
        "SELECT error FROM task_run WHERE task_id = %s AND error IS NOT NULL ORDER BY id", [task]
    )
    return [row[0] for row in rows]


def results(task: UUID) -> list[Any]:
    rows = postgres.query(
        "SELECT result FROM task_run WHERE task_id = %s AND result IS NOT NULL ORDER BY id", [task]
    )
    return [json.loads(row[0]) for row in rows]


def gone(pid: int) -> bool:
    """Whether a process has ended (or only waits to be reaped)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
