"""A worker serves the tenants of its queues, also those that come while it runs."""

import pytest

from jobs.operations import tenants
from jobs.operations.tasks import submit
from tests.e2e.worker_support import COMPLETED, PENDING, column, fresh_views, reaches, worker
from tests.support.processes import Processes

__all__ = ["fresh_views"]


@pytest.mark.req("T-01", "X-12")
def test_a_worker_of_default_serves_a_new_tenants_default_and_no_other_queue(
    processes: Processes,
) -> None:
    worker(processes, "default", "--concurrency", "2")
    acme = tenants.create("acme")
    other = submit("debug:noop", queue="low", tenant_id=acme.pk)
    own = [submit("debug:noop", queue="default", tenant_id=acme.pk) for _ in range(20)]
    for task in [*own, submit("debug:noop")]:
        reaches(task, COMPLETED)
    assert column(other, "state") == PENDING
    assert own[0].queue == "acme:default"
