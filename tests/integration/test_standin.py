"""Web processes fold the counters while no worker does."""

from typing import Any

import pytest

from jobs.domain.errors import QueueFull
from jobs.operations import duties, standin
from jobs.operations.tasks import submit
from jobs.store import postgres
from tests.support import api


@pytest.fixture(autouse=True)
def _fresh(transactional_db: None, redis: Any) -> None:
    api.forget()


@pytest.mark.req("B-01")
def test_without_workers_a_full_queue_still_refuses() -> None:
    postgres.query("UPDATE queue SET capacity = 10 WHERE name = 'low' RETURNING 1")
    for _ in range(9):
        submit("debug:noop", queue="low")
    assert standin.fold_if_nobody_does("web:1") > 0
    api.forget()
    with pytest.raises(QueueFull):
        submit("debug:noop", queue="low")
    submit("debug:noop", queue="default")
    caller = api.client("submit")
    response = caller.post("/tasks", {"type": "debug:noop", "queue": "low"})
    assert api.error(response, 429)["code"] == "queue_full"
    assert int(response.headers["Retry-After"]) >= 1


@pytest.mark.req("B-01")
def test_a_worker_that_folds_is_left_to_it() -> None:
    submit("debug:noop")
    assert duties.take("worker:1", ["fold"]) == {"fold"}
    assert standin.fold_if_nobody_does("web:1") == 0
