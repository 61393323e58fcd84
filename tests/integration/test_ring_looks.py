"""Queues that a worker has no room for hold up neither others nor other workers."""

from collections import Counter
from typing import Any

import pytest

from jobs.operations import tasks, tenants, tickets, workers
from jobs.operations.requests import TaskRequest
from jobs.store import catalog, keys
from jobs.store import redis as store
from tests.support import crowd
from tests.support.engine import Hand

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.req("X-12", "B-02")]

BASES = ("critical", "high", "default", "low")


def fetch(
    hand: Hand,
    want: int,
    bases: tuple[str, ...] = ("default",),
    *,
    rooms: dict[str, int] | None = None,
    was_idle: bool = False,
) -> Counter[str]:
    """How many tickets of each queue."""
    found = store.fetch(
        hand.id,
        [keys.ring(base) for base in bases],
        want=want,
        epoch=tickets.epoch(),
        was_idle=was_idle,
        rooms=rooms,
    )
    return Counter({batch.queue: len(batch.ids) for batch in found})


def fill(base: str, count: int) -> dict[str, int]:
    """A ticket in this queue of so many tenants, and that no more of them may run in a worker."""
    queues = [f"t{n}:{base}" for n in range(1, count + 1)]
    for n, queue in enumerate(queues):
        ticket = store.Ticket(f"00000000-0000-0000-{len(base):04d}-{n:012d}", queue)
        store.push([ticket], epoch=tickets.epoch(), limit=100)
    return dict.fromkeys(queues, 0)


def commands(redis: Any) -> int:
    return sum(stat["calls"] for stat in redis.info("commandstats").values())


def woken(redis: Any, hand: Hand) -> bool:
    """Whether it would wake up now; it is asleep again then."""
    return bool(redis.delete(keys.wake(hand.id)))


def test_a_queue_behind_300_full_ones_is_found_at_once(engine: None) -> None:
    crowd.tenants(400)
    rooms = fill("default", 300)
    tasks.submit("debug:noop", tenant_id=302)
    assert fetch(Hand(), 10, rooms=rooms) == {"t301:default": 1}


def test_300_full_queues_of_one_base_hold_up_no_other_base(engine: None) -> None:
    crowd.tenants(400)
    rooms = {name: 0 for base in BASES[:3] for name in fill(base, 300)}
    tasks.submit("debug:noop", queue="low", tenant_id=302)
    assert fetch(Hand(), 10, BASES, rooms=rooms) == {"t301:low": 1}


@pytest.mark.parametrize("full", [1_100, 5_000])
def test_behind_thousands_of_full_queues_one_is_found_in_a_few_bounded_fetches(
    engine: None, redis: Any, full: int
) -> None:
    crowd.tenants(5_100)
    rooms = fill("default", full)
    tasks.submit("debug:noop", tenant_id=5_050)
    hand, seen, fetches = Hand(), Counter[str](), 0
    while not seen:
        before = commands(redis)
        seen, fetches = fetch(hand, 10, rooms=rooms), fetches + 1
        assert commands(redis) - before < 5_000
        assert fetches < 8
    assert seen == {"t5049:default": 1}


def test_a_worker_sleeps_when_all_that_waits_is_in_queues_that_are_full_in_it(
    engine: None, redis: Any
) -> None:
    crowd.tenants(400)
    rooms, hand = fill("default", 300), Hand()
    assert fetch(hand, 10, rooms=rooms) == {}
    assert not woken(redis, hand)


def test_a_worker_that_is_full_with_thousands_of_queues_looks_around_once_and_sleeps(
    engine: None, redis: Any
) -> None:
    crowd.tenants(3_100)
    rooms, hand, rounds = fill("default", 3_000), Hand(), 0
    while rounds == 0 or woken(redis, hand):
        assert fetch(hand, 10, rooms=rooms, was_idle=True) == {}
        rounds += 1
        assert rounds < 20
    assert rounds >= 3


def test_places_of_thousands_of_empty_queues_are_worked_off_without_a_pause(
    engine: None, redis: Any
) -> None:
    redis.zadd(keys.ring("default"), {f"t{n}:default": n for n in range(3_000)})
    hand, rounds = Hand(), 0
    while rounds == 0 or woken(redis, hand):
        assert fetch(hand, 10, was_idle=True) == {}
        rounds += 1
    assert redis.zcard(keys.ring("default")) == 0


def test_an_ordinary_fetch_costs_as_many_commands_as_before(engine: None, redis: Any) -> None:
    crowd.tenants(400)
    fill("default", 300)
    hand = Hand()
    fetch(hand, 1)
    before = commands(redis)
    assert fetch(hand, 100).total() == 100
    assert commands(redis) - before < 1_000


@pytest.mark.parametrize("slug", [None, "acme"])
def test_a_ticket_of_a_queue_wakes_a_worker_that_has_room_for_it(
    engine: None, redis: Any, slug: str | None
) -> None:
    tenant_id = 1 if slug is None else tenants.create(slug).pk
    queue = "default" if slug is None else f"{slug}:default"
    full, free = [Hand(f"full{n}") for n in range(6)], Hand("free")
    tasks.submit("debug:noop", tenant_id=tenant_id)
    for hand in full:
        assert fetch(hand, 5, rooms={queue: 0}) == {}
    assert fetch(Hand("first"), 1) == {queue: 1}
    assert fetch(free, 5) == {}
    for hand in (*full, free):
        woken(redis, hand)
    tasks.submit("debug:noop", tenant_id=tenant_id)
    assert woken(redis, free)
    assert not any(woken(redis, hand) for hand in full)


def test_a_full_worker_that_was_woken_wakes_one_that_has_room(engine: None, redis: Any) -> None:
    was_free, free = Hand("was-free"), Hand("free")
    assert fetch(was_free, 5) == {}
    tasks.submit("debug:noop")
    assert woken(redis, was_free)
    assert fetch(free, 5, ("high",)) == {}
    redis.sadd("tc:idle:default", free.id)
    assert fetch(was_free, 5, rooms={"default": 0}, was_idle=True) == {}
    assert woken(redis, free)
    assert fetch(free, 5, was_idle=True) == {"default": 1}


def test_two_full_workers_do_not_wake_each_other_for_ever(engine: None, redis: Any) -> None:
    one, other = Hand("one"), Hand("other")
    for hand in (one, other):
        fetch(hand, 5)
    tasks.submit("debug:noop")
    wakes = 0
    for _ in range(10):
        for hand in (one, other):
            if woken(redis, hand):
                wakes += 1
                assert fetch(hand, 5, rooms={"default": 0}, was_idle=True) == {}
    assert 1 <= wakes <= 2


def test_a_worker_that_has_room_again_is_woken_again(engine: None, redis: Any) -> None:
    hand = Hand()
    tasks.submit("debug:noop")
    assert fetch(hand, 5, rooms={"default": 0}) == {}
    assert fetch(hand, 5, rooms={"default": 1}, was_idle=True) == {"default": 1}
    assert fetch(hand, 5, rooms={"default": 1}) == {}
    tasks.submit_many([TaskRequest(type="debug:noop")])
    assert woken(redis, hand)
    assert redis.exists(f"tc:full:{hand.id}") == 0


def test_a_buried_worker_leaves_no_note_of_its_full_queues(engine: None, redis: Any) -> None:
    hand = Hand()
    tasks.submit("debug:noop")
    fetch(hand, 5, rooms={"default": 0})
    assert redis.exists(f"tc:full:{hand.id}") == 1
    workers.bury(hand.id)
    assert redis.exists(f"tc:full:{hand.id}") == 0
    assert catalog.queues().get("default").concurrency is None
