"""Limits of queues and tenants with a real worker, changed while it runs."""

import time
from typing import Any
from uuid import UUID

import pytest

from jobs.operations import queues, tenants
from jobs.store import catalog, postgres
from tests.e2e.worker_support import COMPLETED, fresh_views, reaches, sleep, worker
from tests.support.processes import Processes
from tests.support.wait import eventually

__all__ = ["fresh_views"]


def running(ids: list[UUID]) -> int:
    return int(
        postgres.query("SELECT count(*) FROM task WHERE id = ANY(%s) AND state = 2", [ids])[0][0]
    )


def most_at_once(ids: list[UUID], until_s: float) -> int:
    """The most that were seen running together, until all have ended."""
    most, end_s = 0, time.monotonic() + until_s
    while time.monotonic() < end_s:
        most = max(most, running(ids))
        if not postgres.query("SELECT 1 FROM task WHERE id = ANY(%s) AND state < 5 LIMIT 1", [ids]):
            return most
        time.sleep(0.01)
    raise AssertionError("they have not ended")


@pytest.mark.req("B-02", "V-02")
@pytest.mark.parametrize("env", [{}, {"ASYNQ_POLLING_ENABLED": "false"}])
def test_a_queue_runs_no_more_at_once_in_a_worker_than_it_may_and_follows_live(
    processes: Processes, env: dict[str, str]
) -> None:
    queues.configure("default", concurrency=2)
    worker(processes, "--concurrency", "10", env={**env, "TASK_POLL_INTERVAL": "1"})
    few = [sleep(0.3, queue="default") for _ in range(6)]
    free = sleep(0.3, queue="high")
    assert most_at_once(few, 60) == 2
    reaches(free, COMPLETED)
    long = [sleep(60, queue="default") for _ in range(6)]
    eventually(lambda: running(long) == 2, 20)
    queues.configure("default", concurrency=5)
    eventually(lambda: running(long) == 5, 20)


@pytest.mark.req("T-01")
def test_a_tenant_runs_no_more_at_once_over_two_workers_than_it_may(
    processes: Processes, redis: Any
) -> None:
    acme = tenants.create("acme", max_active=3)
    for _ in range(2):
        worker(processes, "--concurrency", "10")
    ids = [
        sleep(0.2, queue=queue, tenant_id=acme.pk)
        for queue in ("default", "high", "low")
        for _ in range(5)
    ]
    assert most_at_once(ids, 60) == 3
    eventually(lambda: not redis.exists("tc:run:acme"))


@pytest.mark.req("X-12", "T-01")
def test_a_worker_goes_on_after_its_rings_were_destroyed(processes: Processes, redis: Any) -> None:
    acme = tenants.create("acme")
    worker(processes, "--concurrency", "2")
    long = [sleep(2, tenant_id=acme.pk) for _ in range(2)]
    eventually(lambda: running(long) == 2, 20)
    rest = [sleep(0.01, tenant_id=acme.pk) for _ in range(20)]
    redis.delete("tc:ring:default")
    for task in rest:
        reaches(task, COMPLETED, 30)
    assert catalog.queues().get("acme:default").tenant_id == acme.pk
