"""A worker process that takes sealed payloads, in every lane."""

import pytest
from django.test import override_settings

from jobs.operations.tasks import submit
from jobs.store import postgres
from tests.e2e.worker_support import COMPLETED, fresh_views, reaches, worker
from tests.support.processes import Processes

__all__ = ["fresh_views"]


@pytest.mark.req("T-04", "X-02")
def test_sealed_payloads_run_in_every_lane_and_their_results_are_sealed(
    processes: Processes,
) -> None:
    from django.conf import settings

    worker(processes, env={"TASKCENTER_ENCRYPT_PAYLOADS": "true"})
    with override_settings(TASKCENTER={**settings.TASKCENTER, "ENCRYPT_PAYLOADS": True}):
        lanes = ("async", "thread", "process")
        made = [submit("debug:sleep", {"seconds": 0.01, "lane": lane}) for lane in lanes]
        made.append(submit("debug:echo", {"word": "Zuckerhut"}))
    for task in made:
        reaches(task, COMPLETED)
    stored = postgres.query(
        "SELECT payload::text FROM task_info UNION ALL SELECT result::text FROM task_run WHERE result IS NOT NULL"
    )
    assert len(stored) > len(made)
    assert all(text.startswith('{"$enc": "') for (text,) in stored)
