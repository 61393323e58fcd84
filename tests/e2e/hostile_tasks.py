"""Handlers that break what they run on: TASKCENTER_HANDLERS=tests.e2e.hostile_tasks."""

import asyncio
from typing import Any, NoReturn

from jobs.handlers import task


@task("hostile:stop")
async def stop(payload: dict[str, Any]) -> int:
    """Stops the event loop that runs it."""
    asyncio.get_running_loop().stop()
    return 1


@task("hostile:leave")
async def leave(payload: dict[str, Any]) -> int:
    """Raises SystemExit out of a callback of the loop."""
    asyncio.get_running_loop().call_soon(_leave)
    return 1


def _leave() -> NoReturn:
    raise SystemExit(1)
