"""Handlers that break what runs them, each in its own way: TASKCENTER_HANDLERS=tests.faults.breaking_tasks."""

import ctypes
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

from jobs.domain.states import Lane
from jobs.handlers import Context, task
from jobs.operations.tasks import submit

_MARGIN_BYTES = 64 * 2**20


@task("break:segfault", isolated=True)
def segfault(payload: dict[str, Any]) -> None:
    """Reads address nought."""
    ctypes.string_at(0)


@task("break:exit", isolated=True)
def leave(payload: dict[str, Any]) -> None:
    os._exit(3)


@task("break:killed", isolated=True)
def killed(payload: dict[str, Any]) -> None:
    """What the kernel does to whoever takes the last memory."""
    os.kill(os.getpid(), signal.SIGKILL)


@task("break:memory", isolated=True)
def memory(payload: dict[str, Any]) -> int:
    """Takes memory until it is refused (a limit of this child, so that the machine lives)."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MARGIN_BYTES, used + _MARGIN_BYTES))
    taken: list[bytearray] = []
    while True:
        taken.append(bytearray(2**20))


@task("break:loop", isolated=True)
def loop(payload: dict[str, Any]) -> None:
    """Python code for ever."""
    while True:
        pass


@task("break:hold", isolated=True)
def hold_alone(payload: dict[str, Any]) -> None:
    """One call into C that never lets the interpreter go, in a child."""
    _hold(payload["seconds"])


@task("break:hold-thread", lane=Lane.THREAD)
def hold(payload: dict[str, Any], context: Context) -> None:
    """The same beside everything else of a worker, in its first run."""
    if context.attempt == 1:
        _hold(payload["seconds"])


@task("break:stubborn", lane=Lane.THREAD)
def stubborn(payload: dict[str, Any]) -> None:
    """A thread that never ends and looks at nothing."""
    while True:
        time.sleep(0.05)


@task("break:block", lane=Lane.ASYNC)
async def block(payload: dict[str, Any]) -> None:
    """Blocks the loop that it runs on; it can be interrupted between steps of `step_s`."""
    end_s = time.monotonic() + payload["seconds"]
    while time.monotonic() < end_s:
        time.sleep(min(payload["step_s"], end_s - time.monotonic()))


@task("break:submit", lane=Lane.THREAD)
def submits(payload: dict[str, Any], context: Context) -> None:
    """A worker that submits: what is due later, by its own host's clock."""
    submit("debug:noop", {"by": context.task_id}, process_in=payload["process_in"])


def _hold(seconds: int) -> None:
    """As a catastrophic regular expression does: a PyDLL call keeps the interpreter's lock."""
    ctypes.PyDLL(None).sleep(seconds)
