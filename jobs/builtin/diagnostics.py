"""Smoke tests for operators: `debug:*`, registered only with TASKCENTER_DIAGNOSTICS=true."""

import asyncio
import os
import signal
import time
from collections.abc import Coroutine
from typing import Annotated, Any, Literal

import msgspec

from jobs.domain.errors import TaskCenterError
from jobs.domain.outcomes import Discard
from jobs.domain.states import Lane
from jobs.handlers import Aggregate, Context, task

_LOOK_S = 0.02
_LANES = {"async": Lane.ASYNC, "thread": Lane.THREAD, "process": Lane.PROCESS}


class Sleep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 1.0
    lane: Literal["async", "thread", "process"] = "async"


class Fail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    times: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 1
    error: Annotated[str, msgspec.Meta(max_length=2_000)] = "debug:fail was asked to fail"


class Crash(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    times: Annotated[int, msgspec.Meta(ge=0, le=100)] = 1


class Fanout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    shards: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10


class AskedToFail(TaskCenterError):
    """A diagnostic task failed because it was asked to."""

    code = "asked_to_fail"


@task("debug:noop", lane=Lane.ASYNC)
async def noop(payload: Any) -> None:
    """Does nothing, whatever the payload is."""


@task("debug:echo", lane=Lane.ASYNC)
async def echo(payload: Any) -> Any:
    """The result is the payload."""
    return payload


@task("debug:sleep", lane=Lane.ASYNC, lane_from=lambda payload: _LANES[payload.lane])
def sleep(payload: Sleep, context: Context) -> Coroutine[Any, Any, None] | None:
    """Sleeps in the lane that the payload names: the event loop gets a coroutine, the others block."""
    if payload.lane == "async":
        return asyncio.sleep(payload.seconds)
    _block(payload.seconds, context)
    return None


@task("debug:fail", lane=Lane.ASYNC)
async def fail(payload: Fail, context: Context) -> dict[str, int]:
    """Fails in its first `times` runs, then succeeds."""
    if context.attempt <= payload.times:
        raise AskedToFail(payload.error)
    return {"attempt": context.attempt}


@task("debug:crash", lane=Lane.ASYNC)
async def crash(payload: Crash, context: Context) -> dict[str, int]:
    """Kills the process it runs in during its first `times` runs."""
    if context.attempt <= payload.times:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"attempt": context.attempt}


@task(
    "debug:fanout",
    lane=Lane.ASYNC,
    shards=lambda payload: [{"shard": index} for index in range(payload.shards)],
    shard_type="debug:noop",
)
async def fanout(payload: Fanout) -> None:
    """Ends when its shards have ended; the parent itself has nothing to do."""


def _block(seconds: float, context: Context) -> None:
    """Sleep in short steps, so that a soft cancel is answered."""
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        if context.cancelled:
            raise Discard("asked to stop")
        time.sleep(min(_LOOK_S, left_s))


@task(
    "debug:collect",
    lane=Lane.ASYNC,
    aggregate=Aggregate(into="debug:echo", grace_s=1.0, max_delay_s=5.0, max_size=10),
)
async def collect(payload: Any) -> None:
    """A member of a group: with `group` it becomes part of one `debug:echo` task, without it does nothing."""
