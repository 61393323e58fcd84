"""Handlers that attack their own worker."""

import pytest

from jobs.operations.tasks import submit
from jobs.store import postgres
from tests.e2e import hostile_tasks, worker_tasks
from tests.e2e.worker_support import COMPLETED, fresh_views, reaches, sleep, worker
from tests.support.processes import Processes

__all__ = ["fresh_views"]

HOSTILE = {"TASKCENTER_HANDLERS": f"{worker_tasks.__name__},{hostile_tasks.__name__}"}


@pytest.mark.req("X-02", "X-09")
@pytest.mark.parametrize("kind", ["hostile:stop", "hostile:leave"])
def test_a_handler_that_stops_its_loop_costs_the_process_but_no_task(
    processes: Processes, kind: str
) -> None:
    first = worker(processes, env=HOSTILE)
    neighbour = sleep(1.0)
    bad = submit(kind, max_retries=0)
    assert first.wait() == 75
    assert "a handler stopped the event loop" in first.output
    later = submit("debug:noop")
    worker(processes, env=HOSTILE)
    for task in (neighbour, bad.id, later.id):
        reaches(task, COMPLETED)
    assert postgres.query("SELECT count(*) FROM task WHERE state = 2") == [(0,)]
