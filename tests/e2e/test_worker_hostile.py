"""Hostile results and exceptions from handlers, in every lane: the task fails and says why, the worker lives (F26)."""

import pytest

from jobs.operations.tasks import submit
from jobs.store import postgres
from tests.e2e import hostile_answers, worker_tasks
from tests.e2e.worker_support import COMPLETED, errors, fresh_views, reaches, worker
from tests.support.processes import Processes
from tests.support.wait import eventually

__all__ = ["fresh_views"]

HOSTILE = {"TASKCENTER_HANDLERS": f"{worker_tasks.__name__},{hostile_answers.__name__}"}
_LEFT = "SELECT i.payload::text FROM task t JOIN task_info i USING (id) WHERE t.state NOT IN (5, 6)"
ASKED = [("hostile:result", kind) for kind in hostile_answers.RESULTS] + [
    ("hostile:error", kind) for kind in hostile_answers.ERRORS
]


@pytest.mark.req("F26", "X-09")
@pytest.mark.parametrize("lane", ["async", "thread", "process", "awaited"])
def test_whatever_a_handler_returns_or_raises_fails_its_task_alone_and_says_why(
    processes: Processes, lane: str
) -> None:
    process = worker(processes, "--concurrency", "4", env=HOSTILE)
    made = {}
    for type_, kind in ASKED:
        name = "hostile:async" if lane == "awaited" else type_
        payload = {"kind": kind, "lane": "async" if lane == "awaited" else lane}
        made[kind] = submit(name, payload, max_retries=0).id
    eventually(lambda: postgres.query(_LEFT) == [], 60, every_s=0.1)
    said = {kind: errors(id_) for kind, id_ in made.items()}
    states: dict[object, int] = dict(postgres.query("SELECT id, state FROM task"))
    wrong = {kind: said[kind] for kind, id_ in made.items() if states[id_] != 5 or not said[kind]}
    assert wrong == {}
    assert max(len(text) for texts in said.values() for text in texts) <= 4_000
    assert process.alive
    reaches(submit("debug:noop"), COMPLETED)
