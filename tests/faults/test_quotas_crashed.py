"""Tenants' limits and limits per key when Redis is emptied, or a worker dies, in the middle of it (F02, F03)."""

import random
import time
from typing import Any

import pytest

from jobs.operations import (
    duties,
    limits,
    queues,
    quotas,
    refilling,
    tenants,
    tending,
    workers,
)
from jobs.operations.locks import Refused
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit_many
from jobs.store import postgres
from tests.support.books import Books
from tests.support.engine import Hand, succeeded
from tests.support.load import Fleet, sized
from tests.support.processes import Processes
from tests.support.wait import eventually

pytestmark = pytest.mark.faults

_MOST = 2
_RUNNING = "SELECT tenant_id, count(*) FROM task WHERE state = 2 GROUP BY 1"


def _submit(tenant_id: int, count: int, *, seconds: float = 0.02) -> list[str]:
    """Every third task stands in the line of a key with two places."""
    plain = TaskRequest(type="debug:sleep", payload={"seconds": seconds}, max_retries=0)
    lined = TaskRequest(
        type="debug:sleep",
        payload={"seconds": seconds},
        max_retries=0,
        limit_key="k",
        limit=2,
    )
    made = submit_many([lined if n % 3 == 0 else plain for n in range(count)], tenant_id=tenant_id)
    assert not [r for r in made if isinstance(r, Refused)]
    return [str(r.id) for r in made if not isinstance(r, Refused)]


def _most_running(seen: dict[int, int]) -> None:
    for tenant_id, count in postgres.query(_RUNNING):
        seen[tenant_id] = max(seen.get(tenant_id, 0), count)


@pytest.mark.req("F02", "P-04", "T-01", "S-12")
def test_a_redis_emptied_again_and_again_between_three_tenants_costs_no_task_and_no_slot(
    processes: Processes, books: Books, redis: Any
) -> None:
    dice, seen = random.Random(7), dict[int, int]()
    limited = [tenants.create(slug, max_active=_MOST).pk for slug in ("aa", "bb")]
    free = tenants.create("cc").pk
    fleet = Fleet(processes, 2)
    fleet.ready()
    ids: list[str] = []
    for n in range(sized(12, 60)):
        for tenant_id in (*limited, free):
            ids += _submit(tenant_id, 3)
        if n % 4 == 1:
            queues.pause("aa:default")
        if n % 4 == 3:
            queues.resume("aa:default")
        _most_running(seen)
        time.sleep(dice.uniform(0.0, 0.1))
        redis.flushall()
    eventually(lambda: books.unfinished() == 0, 30, every_s=0.05)
    assert books.check(accepted=ids) == []
    assert all(seen.get(tenant_id, 0) <= 2 * _MOST for tenant_id in limited), seen
    eventually(lambda: not redis.keys("tc:run:*"), 5)
    most = dict[int, int]()
    last = [id_ for tenant_id in limited for id_ in _submit(tenant_id, 12, seconds=0.1)]

    def ended() -> bool:
        _most_running(most)
        return books.unfinished() == 0

    eventually(ended, 30, every_s=0.01)
    assert books.check(accepted=[*ids, *last]) == []
    assert most == dict.fromkeys(limited, _MOST)


def _recover() -> None:
    """What the duties of a living worker do within half a minute, at once."""
    postgres.query(
        "UPDATE worker SET beat_at = now() - interval '1 minute' WHERE dead_at IS NULL RETURNING 1"
    )
    workers.bury_silent(9)
    workers.rescue()
    limits.tend()
    refilling.look(refilling.look(set()))
    while refilling.refill(thorough=True):
        pass
    while duties.fold():
        pass
    tending.tend()
    counting = quotas.Counting()
    for _ in range(2):
        counting.step()
        counting.review()


@pytest.mark.req("F03", "P-03", "T-01", "S-12", "AC59")
@pytest.mark.parametrize(
    "point", ["after_fetch", "after_claim", "after_run", "after_commit", "after_settle"]
)
def test_a_worker_that_dies_anywhere_keeps_no_slot_of_a_tenant_and_no_place_of_a_key(
    processes: Processes, books: Books, redis: Any, point: str
) -> None:
    acme = tenants.create("acme", max_active=_MOST).pk
    ids = [*_submit(acme, 12), *_submit(1, 6)]
    doomed = processes.manage("rqworker", "--concurrency", "4", env={"TASKCENTER_CRASH_AT": point})
    assert doomed.wait(30) == 137
    _recover()
    hand, most = Hand(), 0
    for _ in range(60):
        claimed = hand.claim()
        of_acme = sum(run.tenant_id == acme for run in claimed)
        most = max(most, of_acme)
        assert of_acme <= _MOST
        hand.settle(claimed, succeeded)
        limits.tend()
        if not claimed and books.unfinished() == 0:
            break
    assert books.check(accepted=ids) == []
    assert most == _MOST
    assert not redis.keys("tc:run:*")
    assert postgres.query("SELECT count(*) FROM task WHERE state IN (1, 2, 7)") == [(0,)]
