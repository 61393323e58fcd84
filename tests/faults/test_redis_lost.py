"""Redis flushed, killed, unreachable; tickets lost and doubled (F02, F03, F16)."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from jobs.domain.errors import StaleEpoch
from jobs.operations import actions, tickets
from jobs.operations.locks import Refused
from jobs.operations.tasks import submit_many
from jobs.store import keys
from jobs.store import redis as store
from jobs.store.redis import Ticket
from taskcenter.devstack.testing import Servers
from tests.support import load
from tests.support.books import Books
from tests.support.load import Fleet, accepted, charged, sized
from tests.support.processes import Process, Processes
from tests.support.wait import eventually
from tests.support.wire import Wire

pytestmark = pytest.mark.faults

_SUBMIT = """
import django

django.setup()
from jobs.operations.tasks import submit

submit("debug:noop", {}, user_id=901, credits=3)
"""


@pytest.mark.req("F02", "P-02")
def test_a_flush_under_load_costs_no_task(processes: Processes, books: Books, redis: Any) -> None:
    fleet = Fleet(processes, 2)
    fleet.ready()
    ids: list[str] = []
    for n in range(sized(5, 20)):
        ids += accepted(charged(sized(60, 500), seed=n, seconds=0.1))
        redis.flushall()
    eventually(lambda: books.unfinished() == 0, 60, every_s=0.25)
    assert books.check(accepted=ids) == []
    assert books.ask("SELECT count(*) FROM task WHERE crashes > 0") == [(0,)]
    assert all(member.alive for member in fleet.members)
    eventually(lambda: redis.scard("rq:workers") == 2, 30)  # they are listed again


@pytest.mark.req("F02", "P-02", "P-04")
def test_a_killed_redis_stops_no_submit_and_everything_is_delivered_after_its_return(
    processes: Processes, books: Books, servers: Servers
) -> None:
    fleet = Fleet(processes, 2, env={"TASK_POLL_INTERVAL": "15"})
    fleet.ready()
    ids = accepted(charged(100, seconds=0.1))
    servers.redis.kill()
    try:
        results = submit_many(charged(100, seed=2, seconds=0.1))
        assert all(not isinstance(r, Refused) and r.deferred for r in results)
        ids += [str(r.id) for r in results if not isinstance(r, Refused)]
    finally:
        servers.redis.start()
    back_s = time.monotonic()
    eventually(lambda: books.unfinished() == 0, 60, every_s=0.25)
    assert time.monotonic() - back_s < 60
    assert books.check(accepted=ids) == []
    assert all(member.alive for member in fleet.members)


@pytest.mark.req("F02", "P-04", "AC35", "AF15")
def test_workers_that_cannot_reach_redis_for_a_while_come_back_by_themselves(
    processes: Processes, books: Books
) -> None:
    with Wire(load.redis_port()) as wire:
        env = {"REDIS_URL": wire.through(os.environ["REDIS_URL"]), "TASK_POLL_INTERVAL": "60"}
        fleet = Fleet(processes, 2, env=env)
        fleet.ready()
        ids = accepted(charged(60, seconds=0.1))
        wire.cut()
        ids += accepted(charged(60, seed=2, seconds=0.1))
        for member in fleet.members:
            member.wait_for("Redis is lost", 20)
        time.sleep(sized(3, 60))
        wire.heal()
        healed_s = time.monotonic()
        for member in fleet.members:
            member.wait_for("Redis is back", 40)
        ids += accepted(charged(20, seed=3))
        eventually(lambda: books.unfinished() == 0, 60, every_s=0.25)
        assert time.monotonic() - healed_s < 30
        assert books.check(accepted=ids) == []


@pytest.mark.req("F03", "P-03", "S-03")
def test_tasks_whose_submitter_dies_between_commit_and_push_are_picked_up(
    processes: Processes, books: Books
) -> None:
    fleet = Fleet(processes, 1)
    fleet.ready()
    doomed = [_submitter(processes) for _ in range(sized(4, 100))]
    for process in doomed:
        assert process.wait(60) == 137
    assert books.ask("SELECT count(*) FROM task") == [(len(doomed),)]
    eventually(lambda: books.unfinished() == 0, 35, every_s=0.25)  # two looks, and two sweeps
    assert books.check() == []


def _submitter(processes: Processes) -> Process:
    return processes.run(
        [sys.executable, "-c", _SUBMIT], env={"TASKCENTER_CRASH_AT": "after_commit"}
    )


@pytest.mark.req("F16", "X-07")
def test_tickets_pushed_twenty_times_run_each_task_once(
    processes: Processes, books: Books, redis: Any
) -> None:
    fleet = Fleet(processes, 2)
    ids = accepted(charged(sized(60, 1_000), seconds=0.05))
    gone = accepted(charged(10, seed=2))
    for id_ in gone:
        actions.cancel(UUID(id_), actor="test")
    unknown = [str(UUID(int=n)) for n in range(10)]

    def push_all() -> None:
        for _ in range(20):
            every = [Ticket(id_, "default") for id_ in (*ids, *gone, *unknown)]
            store.push(every, epoch=tickets.epoch(), limit=100_000)

    push_all()
    fleet.ready()
    eventually(lambda: books.unfinished() == 0, 40, every_s=0.25)
    push_all()  # now all of them have ended
    eventually(lambda: redis.llen("rq:queue:default") == 0, 20)
    assert books.check(accepted=[*ids, *gone]) == []
    assert books.ask("SELECT max(runs), sum(crashes) FROM task") == [(1, 0)]
    assert books.ask("SELECT count(*), sum(runs) FROM task WHERE status = 9") == [(10, 0)]
    eventually(lambda: not redis.keys("tc:inflight:*"))


@pytest.mark.req("F02", "P-02")
def test_every_script_refuses_another_epoch_than_that_of_redis(books: Books, redis: Any) -> None:
    now, ticket = tickets.epoch(), Ticket(str(UUID(int=1)), "default")
    calls: dict[str, Callable[[int], object]] = {
        "push": lambda epoch: store.push([ticket], epoch=epoch, limit=10),
        "fetch": lambda epoch: store.fetch(
            1, [keys.tickets("default", 0)], want=1, epoch=epoch, was_idle=False
        ),
        "give back": lambda epoch: store.give_back(1, [ticket.id], epoch=epoch, front=True),
    }
    for call in calls.values():
        call(now)
        for held in (now + 1, None):
            redis.delete("tc:epoch")
            if held is not None:
                redis.set("tc:epoch", held)
            with pytest.raises(StaleEpoch):
                call(now)
        redis.set("tc:epoch", now)
    assert redis.lrange("rq:queue:default", 0, -1) == [ticket.id]
