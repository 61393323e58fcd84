"""A worker process that takes sealed payloads, in every lane."""

import pytest
from cryptography.fernet import Fernet
from django.test import override_settings

from jobs.operations.tasks import submit
from jobs.selectors import health, secrets
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


@pytest.mark.req("T-04", "M-05", "M-06")
def test_a_worker_with_a_wrong_key_says_so_and_turns_health_red_until_it_is_gone(
    processes: Processes,
) -> None:
    from django.conf import settings

    with override_settings(TASKCENTER={**settings.TASKCENTER, "ENCRYPT_PAYLOADS": True}):
        submit("debug:echo", {"word": "Zuckerhut"}, process_in=3600)
        env = {
            "TASKCENTER_ENCRYPT_PAYLOADS": "true",
            "TASKCENTER_SECRET_KEYS": Fernet.generate_key().decode(),
        }
        wrong = worker(processes, env=env)
        wrong.wait_for("KEYS ARE MISSING")
        secrets.forget()
        seen = health.check()
        assert (seen.healthy, seen.secrets_unopened) == (False, 2)
        wrong.stop()
        worker(processes, env={"TASKCENTER_ENCRYPT_PAYLOADS": "true"})
        secrets.forget()
        seen = health.check()
        assert (seen.healthy, seen.secrets_unopened) == (True, 0)
    secrets.forget()
