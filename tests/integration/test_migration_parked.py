"""A migrated task waits for its platform to be completed by an operator, and is not failed for it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from jobs.builtin.platform_run import run_platform_batch
from jobs.domain.outcomes import Outcome
from jobs.models import Task
from jobs.operations import platforms, runs
from jobs.operations.platforms import PlatformSpec
from jobs.store import postgres
from tests.support.engine import Hand
from tests.support.old_gateway import HOUR_AGO, row, sqlite_file

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.req("G-01")]


async def _run(claimed: list[runs.Run], outcomes: list[Outcome]) -> None:
    """One thread talks to the database, and leaves no connection behind."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    await run_platform_batch(claimed, outcomes.append)
    await asyncio.to_thread(lambda: connection.close())


def _step(hand: Hand) -> list[Outcome]:
    """Claim what is there and take it one step."""
    postgres.query("UPDATE task SET state = 1, run_at = NULL WHERE state = 3 RETURNING 1")
    claimed = runs.claim(hand.id, [str(id_) for id_ in Task.objects.values_list("id", flat=True)])
    outcomes: list[Outcome] = []
    asyncio.run(_run(claimed, outcomes))
    runs.settle(hand.id, outcomes)
    return outcomes


def test_a_task_of_a_disabled_platform_waits_even_past_its_time_limit(tmp_path: Path) -> None:
    old = HOUR_AGO - 10**6
    source = sqlite_file(tmp_path / "old.db", [row(1), row(2, created_at=old, submit_time=old)])
    call_command("migrate_tasks", "--source", source, "--report", str(tmp_path / "r"), "--apply")
    hand = Hand()
    for _ in range(3):
        assert [o.counts for o in _step(hand)] == [False, False]
    assert set(Task.objects.values_list("state", "status", "retried")) == {(3, 3, 0)}
    [(wait_s,)] = postgres.query(
        "SELECT extract(epoch FROM min(run_at) - clock_timestamp())::float8 FROM task"
    )
    assert wait_s > 250
    platforms.change(PlatformSpec(name="kling", enabled=True))
    [(wait_s,)] = postgres.query(
        "SELECT extract(epoch FROM max(run_at) - clock_timestamp())::float8 FROM task"
    )
    assert wait_s < 31
