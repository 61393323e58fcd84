"""How much of a tenant runs at once, over all workers (T-01)."""

from typing import Any

import pytest

from jobs.domain.errors import Invalid
from jobs.operations import (
    duties,
    quotas,
    row_claims,
    runs,
    tasks,
    tenants,
    tending,
    tickets,
    workers,
)
from jobs.operations.requests import TaskRequest
from jobs.store import catalog, keys, postgres, rings
from jobs.store import redis as store
from tests.support import api
from tests.support.api import ApiClient, data, error
from tests.support.engine import Hand, retried, succeeded

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.req("T-01")]

RINGS = [keys.ring("default"), keys.ring("high")]


def fetch(hand: Hand, want: int = 10) -> list[str]:
    found = store.fetch(hand.id, RINGS, want=want, epoch=tickets.epoch(), was_idle=False)
    return [id_ for batch in found for id_ in batch.ids]


def fill(tenant_id: int, count: int = 6) -> None:
    for queue in ("default", "high"):
        tasks.submit_many(
            [TaskRequest(type="debug:noop", queue=queue)] * count, tenant_id=tenant_id
        )


@pytest.fixture
def acme(engine: None) -> int:
    """A tenant of which three tasks may run at once."""
    made = tenants.create("acme", max_active=3)
    fill(made.pk)
    return made.pk


def test_two_workers_together_hold_no_more_than_the_limit_over_all_queues(acme: int) -> None:
    one, other = Hand("one"), Hand("other")
    first, second = fetch(one, 2), fetch(other)
    assert (len(first), len(second)) == (2, 1)
    assert fetch(one) == fetch(other) == []
    fill(1, 5)
    assert len(fetch(one, 20)) == 10  # the default tenant's, and no other


def test_the_next_starts_when_one_ends_whatever_its_end(acme: int) -> None:
    one, other = Hand("one"), Hand("other")
    claimed = runs.claim(one.id, fetch(one, 3))
    assert len(claimed) == 3
    for make in (succeeded, retried):
        one.settle([claimed.pop()], make)
        assert len(fetch(other)) == 1
        assert fetch(other) == []


def test_tickets_given_back_and_those_of_a_dead_worker_make_room(acme: int) -> None:
    one, other = Hand("one"), Hand("other")
    held = fetch(one)
    store.give_back(one.id, held[:1], epoch=tickets.epoch(), front=True)
    assert len(fetch(other)) == 1
    workers.bury(one.id)
    assert len(fetch(other)) == 2
    assert fetch(other) == []


def test_a_limit_is_given_changed_and_taken_away_while_tasks_run(engine: None) -> None:
    api.forget()
    admin: ApiClient = api.client("admin", name="boss")
    acme = tenants.create("acme")
    fill(acme.pk)
    one, other = Hand("one"), Hand("other")
    runs.claim(one.id, fetch(one, 4))
    assert data(admin.patch("/tenants/acme", {"max_active": 5}))["max_active"] == 5
    assert len(fetch(other)) == 1
    assert data(admin.get("/tenants/acme"))["max_active"] == 5
    data(admin.patch("/tenants/acme", {"max_active": 2}))
    assert fetch(other) == []
    error(admin.patch("/tenants/acme", {"max_active": 0}), 422)
    error(admin.patch("/tenants/default", {"max_active": 2}), 422)
    data(admin.patch("/tenants/acme", {"max_active": None}))
    while duties.fold():
        pass
    tending.tend()
    assert len(fetch(other)) == 7
    with pytest.raises(Invalid):
        tenants.create("b2", max_active=0)


def test_after_redis_lost_everything_what_runs_is_counted_before_anything_starts(
    acme: int, redis: Any
) -> None:
    one, other = Hand("one"), Hand("other")
    runs.claim(one.id, fetch(one, 2))
    redis.flushall()
    tickets.forget()
    tickets.renew()
    fill(acme)
    assert len(fetch(other)) == 1
    assert fetch(other) == []


def test_without_redis_the_rows_keep_the_limit(acme: int) -> None:
    one, other = Hand("one"), Hand("other")
    known = catalog.queues(fresh=True)
    rows = [(known.get("acme:default"), 2, 2), (known.get("acme:high"), 10, 10)]
    assert len(row_claims.claim_pending(one.id, rows, 2).runs) == 2
    assert len(row_claims.claim_pending(other.id, rows, 10).runs) == 1
    assert row_claims.claim_pending(one.id, rows, 10).runs == []


def test_counts_that_went_wrong_are_put_right_in_two_steps(acme: int, redis: Any) -> None:
    one, counting = Hand("one"), quotas.Counting()
    held = runs.claim(one.id, fetch(one, 3))
    redis.delete("tc:run:acme")
    redis.sadd("tc:run:acme", "forgotten")
    for _ in range(2):
        counting.step()
        counting.review()
    assert redis.smembers("tc:run:acme") == {run.id for run in held}


def test_tasks_that_end_while_the_limit_is_told_leave_nothing_behind(
    acme: int, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Hand("one")
    claimed = runs.claim(one.id, fetch(one, 3))
    add = rings.add_running

    def ends_first(running: Any) -> None:
        one.settle(claimed, succeeded)
        add(running)

    monkeypatch.setattr(rings, "add_running", ends_first)
    quotas.load()
    assert redis.smembers("tc:run:acme") == set()
    assert postgres.query("SELECT count(*) FROM task WHERE state = 6") == [(3,)]
