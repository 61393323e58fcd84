"""Handlers for the worker's tests: TASKCENTER_HANDLERS=tests.e2e.worker_tasks."""

import asyncio
import subprocess
import time
from pathlib import Path
from typing import Any

import structlog

from jobs.domain.outcomes import Discard, Poll, Retry, SkipRetry
from jobs.domain.states import Status
from jobs.handlers import Context, task


@task("test:stubborn")
def stubborn(payload: dict[str, Any]) -> None:
    """A thread that never looks at its context."""
    end_s = time.monotonic() + payload["seconds"]
    while time.monotonic() < end_s:
        time.sleep(0.05)


@task("test:isolated", isolated=True)
def isolated(payload: dict[str, Any]) -> None:
    """Starts a grandchild that writes its pid, then sleeps without looking."""
    grandchild = subprocess.Popen(["/bin/sleep", "60"])
    Path(payload["file"]).write_text(str(grandchild.pid))
    time.sleep(payload["seconds"])


@task("test:block")
async def block(payload: dict[str, Any]) -> None:
    """An asynchronous handler that blocks the loop, in short steps."""
    end_s = time.monotonic() + payload["seconds"]
    while time.monotonic() < end_s:
        time.sleep(0.05)


@task("test:outcome")
async def outcome(payload: dict[str, Any], context: Context) -> dict[str, int]:
    """Ends as the payload says in its first run, well in the second."""
    context.log.info("inside the handler")
    structlog.get_logger("test").info("bound to the run")
    if context.attempt == 1:
        match payload["how"]:
            case "skip":
                raise SkipRetry("no use")
            case "discard":
                raise Discard("never mind")
            case "retry":
                raise Retry(0.05, counts=False)
            case "poll":
                raise Poll(Status.QUEUED, after_s=0.05, progress=40)
    return {"attempt": context.attempt}


@task("test:append")
async def append(payload: dict[str, Any]) -> None:
    """Writes its number at the end of a file."""
    with Path(payload["file"]).open("a") as file:
        file.write(f"{payload['n']}\n")
    await asyncio.sleep(payload["seconds"])


@task("test:span")
async def span(payload: dict[str, Any], context: Context) -> None:
    """Writes a line when it begins and one when it ends."""
    with Path(payload["file"]).open("ab", buffering=0) as file:
        file.write(f"+ {payload['key']} {time.time()}\n".encode())
        await asyncio.sleep(payload["seconds"])
        file.write(f"- {payload['key']} {time.time()}\n".encode())


@task("test:progress")
async def progress(payload: dict[str, Any], context: Context) -> None:
    context.progress(42)
    await asyncio.sleep(payload["seconds"])


def shout(call_next: Any) -> Any:
    """A middleware for asynchronous handlers."""

    async def call(payload: Any, context: Context) -> Any:
        structlog.get_logger("test").info("middleware before", type=context.type)
        return await call_next(payload, context)

    return call
