"""Handlers with failure hooks: TASKCENTER_HANDLERS=tests.e2e.hook_tasks. Hooks write lines into the payload's file."""

import asyncio
import json
from pathlib import Path
from typing import Any

from jobs.domain.outcomes import Discard, SkipRetry
from jobs.handlers import Failure, task
from jobs.lifecycle.policy import RetryPolicy
from jobs.store import postgres

QUICK = RetryPolicy(
    max_retries=1, base_s=0.05, cap_s=0.05, is_failure=lambda error: not isinstance(error, OSError)
)


def _note(hook: str, payload: dict[str, Any], failure: Failure, error: str) -> None:
    facts = {
        "hook": hook,
        "task_id": failure.task_id,
        "attempt": failure.attempt,
        "retried": failure.retried,
        "dead": failure.dead,
        "again": failure.retry_in_s is not None,
        "business_id": failure.business_id,
        "headers": dict(failure.headers),
        "error": error.splitlines()[0],
        "states": [row[0] for row in postgres.query("SELECT state FROM task")],
    }
    with Path(payload["file"]).open("a") as file:
        file.write(json.dumps(facts) + "\n")


def failed(payload: dict[str, Any], failure: Failure, error: str) -> None:
    _note("failure", payload, failure, error)
    if payload.get("how") == "raising hook":
        raise RuntimeError("the hook broke")


async def exhausted(payload: dict[str, Any], failure: Failure, error: str) -> None:
    await asyncio.to_thread(_note, "exhausted", payload, failure, error)


@task("test:fails", policy=QUICK, on_failure=failed, on_exhausted=exhausted)
async def fails(payload: dict[str, Any]) -> None:
    _end(payload["how"])


@task("test:fails-apart", policy=QUICK, isolated=True, on_failure=failed, on_exhausted=exhausted)
def fails_apart(payload: dict[str, Any]) -> None:
    _end(payload["how"])


def _end(how: str) -> None:
    match how:
        case "well":
            return
        case "skip":
            raise SkipRetry("no use")
        case "discard":
            raise Discard("never mind")
        case "no failure":
            raise OSError("a hiccup that does not count")
    raise ValueError("boom")
