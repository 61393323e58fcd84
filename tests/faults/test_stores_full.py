"""PostgreSQL's disk is full, Redis has no memory left (F19, F20)."""

import time
from typing import Any

import pytest

from jobs.operations import keys, queues
from tests.support.books import Books
from tests.support.callers import Caller
from tests.support.load import Fleet, accepted, charged, sized
from tests.support.processes import Processes
from tests.support.small_disk import small_disk
from tests.support.wait import eventually

pytestmark = pytest.mark.faults


@pytest.mark.req("F19", "P-05", "C-02")
def test_a_full_disk_refuses_submits_whole_and_everything_goes_on_when_there_is_space(
    processes: Processes, books: Books
) -> None:
    key = keys.create(name="faults", scopes=["submit"]).key
    ids = accepted(charged(200, seconds=0.4))
    with small_disk(size_bytes=96 * 2**20) as disk, Processes(env=_at(processes, disk.url)) as mine:
        there = Books(url=disk.url)
        caller = Caller(mine.web(), key)
        assert caller.post("x") == 201
        fleet = Fleet(mine, 2, args=("--concurrency", "4"))
        fleet.ready()
        disk.fill()
        bulky = "".join(chr(0x4E00 + n) for n in range(15_000))  # never fits beside what is stored
        until_s = time.monotonic() + sized(4, 30)
        while time.monotonic() < until_s:
            caller.post(bulky)
        refused, kept = caller.codes[503], caller.codes[201]
        disk.free()
        eventually(lambda: caller.post(bulky) == 201, 10)
        eventually(lambda: there.unfinished() == 0, 40, every_s=0.25)
        assert set(caller.codes) == {201, 503}
        assert refused > 5 * kept
        assert caller.hasty == 0
        assert there.check(accepted=ids) == []
        assert there.ask("SELECT count(*) FROM task") == [(len(ids) + len(caller.ids),)]
        assert there.ask("SELECT sum(crashes) FROM task") == [(0,)]
        failed = there.ask("SELECT count(*) FROM task WHERE status = 5")
        assert failed == [(28,)]  # those that were to fail, none for want of space
        assert all(member.alive for member in fleet.members)


def _at(processes: Processes, url: str) -> dict[str, str]:
    return {**processes.env, "DATABASE_URL": url}


@pytest.mark.req("F20", "P-04")
def test_a_full_redis_defers_submits_while_workers_drain_it_and_takes_all_when_it_has_room(
    processes: Processes, books: Books, redis: Any
) -> None:
    fleet = Fleet(processes, 1)
    fleet.ready()
    caller = Caller(processes.web(), keys.create(name="faults", scopes=["submit"]).key)
    queues.pause("default")
    ticketed = accepted(charged(200, seconds=0.05))
    eventually(lambda: redis.llen("rq:queue:default") > 150)
    redis.config_set("maxmemory", 1)
    try:
        codes = {caller.post(n) for n in range(50)}
        assert codes == {201}
        assert caller.deferred == 50
        late = Fleet(processes, 1)  # starts, and works, beside a Redis that takes nothing
        late.ready()
        queues.resume("default")
        eventually(lambda: books.ask(_ENDED, {"ids": ticketed}) == [(len(ticketed),)], 20)
    finally:
        redis.config_set("maxmemory", 0)
    freed_s = time.monotonic()
    assert caller.post() == 201
    eventually(lambda: books.unfinished() == 0, 30, every_s=0.1)
    assert time.monotonic() - freed_s < 15
    assert books.check(accepted=ticketed) == []
    assert books.ask("SELECT count(*) FROM task") == [(len(ticketed) + 51,)]
    assert books.ask("SELECT max(runs)::int, sum(crashes)::int FROM task") == [(1, 0)]
    eventually(lambda: not redis.keys("tc:inflight:*"))
    for member in [*fleet.members, *late.members]:
        assert member.alive
        assert "Redis is lost" not in member.output  # it was read from throughout


_ENDED = "SELECT count(*) FROM task WHERE id = ANY(%(ids)s::uuid[]) AND state IN (5, 6)"
