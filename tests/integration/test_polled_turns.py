"""Whose turn it is when runs are claimed from the rows alone, without Redis."""

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jobs.operations import queues, tasks
from jobs.operations.requests import TaskRequest
from jobs.store import catalog, postgres
from jobs.worker.polling import Poller
from jobs.worker.served import Served
from tests.support import crowd
from tests.support.database import other_connection
from tests.support.engine import Hand

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.req("X-12", "T-01")]

_FULL = 250
_ROWS = (
    "INSERT INTO task (id, ord, queue_id, tenant_id, token, ticket, flags, runs, retried, max_retries, crashes,"
    " cycle, state, status, lane, cancel, progress, credits, retention_s)"
    " SELECT gen_random_uuid(), q.id, q.id, q.tenant_id, 0, 0, 0, 0, 0, 3, 0, 0, s.state, 0, 0, 0, 0, 0, 60"
    " FROM queue q, unnest(%s::int[]) AS s(state) WHERE q.tenant_id BETWEEN 2 AND %s AND q.name LIKE '%%:default'"
    " RETURNING 1"
)


class Polled:
    """A poller as its worker drives it."""

    def __init__(self) -> None:
        self.served = Served([], strict=False)
        parts = SimpleNamespace(
            served=self.served, worker_id=Hand().id, active={}, burst=True, uses_redis=False
        )
        self._poller = Poller(cast(Any, parts))

    def claim(self, want: int) -> Counter[str]:
        """How many of each queue."""
        known = catalog.queues()
        return Counter(known.name(run.queue_id) for run in self._poller._claim(want))


@pytest.fixture
def crowded(engine: None) -> None:
    """Tenants t1 to t250 have one pending task each that cannot start; t251 to t260 have none."""
    crowd.tenants(_FULL + 10)


def test_250_tenants_at_their_limit_hold_up_nobody(crowded: None) -> None:
    postgres.query(
        "UPDATE tenant SET max_active = 1 WHERE id BETWEEN 2 AND %s RETURNING 1", [_FULL + 1]
    )
    postgres.query(_ROWS, [[1, 1], _FULL + 1])
    postgres.query(
        "UPDATE task SET state = 2, worker_id = %s WHERE id = ANY(SELECT DISTINCT ON (queue_id) id FROM task)"
        " RETURNING 1",
        [Hand().id],
    )
    polled = Polled()
    tasks.submit("debug:noop", tenant_id=_FULL + 5)
    assert polled.claim(10) == {f"t{_FULL + 4}:default": 1}


def test_300_queues_at_their_concurrency_hold_up_nobody(crowded: None) -> None:
    postgres.query(_ROWS, [[1], _FULL + 1])
    postgres.query(
        "UPDATE queue SET concurrency = 1 WHERE tenant_id BETWEEN 2 AND %s RETURNING 1",
        [_FULL + 1],
    )
    catalog.stale()
    polled = Polled()
    full = [SimpleNamespace(queue=f"t{n}:default") for n in range(1, _FULL + 1)]
    polled._poller._engine.active = cast(Any, dict(enumerate(full)))
    tasks.submit("debug:noop", tenant_id=_FULL + 5)
    assert polled.claim(10) == {f"t{_FULL + 4}:default": 1}


def test_queues_whose_tasks_somebody_holds_have_had_their_turn(crowded: None) -> None:
    postgres.query(_ROWS, [[1], _FULL + 1])
    polled = Polled()
    with other_connection() as other:
        other.execute("SELECT 1 FROM task FOR UPDATE")
        tasks.submit("debug:noop", tenant_id=_FULL + 5)
        for _ in range(3):
            polled.served.turn_of(f"t{_FULL + 4}:default")  # it comes last
        seen = polled.claim(1_000) + polled.claim(1_000)
    assert seen == {f"t{_FULL + 4}:default": 1}


@pytest.mark.req("Q-02", "AC15")
def test_a_busy_queue_of_more_weight_starves_none_of_less() -> None:
    bases = ("critical", "default", "low")
    for name in bases:
        tasks.submit_many([TaskRequest(type="debug:noop", queue=name)] * 400)
    polled, seen = Polled(), Counter[str]()
    for _ in range(40):
        got = polled.claim(10)
        assert got.total() == 10
        seen += got
    weights = {name: catalog.queues().get(name).weight for name in bases}
    for name in bases:
        fair = 400 * weights[name] / sum(weights.values())
        assert seen[name] == pytest.approx(fair, rel=0.25), seen


def test_a_base_with_hundreds_of_tenants_leaves_others_their_share(crowded: None) -> None:
    queues.configure("default", weight=1000)
    postgres.query(_ROWS, [[1], _FULL + 1])
    tasks.submit_many([TaskRequest(type="debug:noop", queue="low")] * 5)
    polled = Polled()
    with other_connection() as other:  # as if other workers were busy with them
        other.execute("SELECT 1 FROM task WHERE tenant_id > 1 FOR UPDATE")
        assert polled.claim(1_000) == {"low": 5}


def test_one_long_queue_gives_all_that_is_wanted_when_the_others_are_short() -> None:
    tasks.submit_many([TaskRequest(type="debug:noop", queue="low")] * 300)
    tasks.submit("debug:noop", queue="high")
    assert Polled().claim(200) == {"low": 199, "high": 1}
