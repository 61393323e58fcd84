"""The worker's parts that need no stores."""

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from jobs.domain.outcomes import Kind, Outcome
from jobs.domain.states import Lane, State, Status
from jobs.operations.runs import Run
from jobs.store import catalog
from jobs.worker import watchdog
from jobs.worker.frames import Frames
from jobs.worker.lanes.async_lane import AsyncLane
from jobs.worker.records import Active
from jobs.worker.served import Served
from jobs.worker.slots import LOOK_AHEAD_S, Slots
from jobs.worker.watchdog import Watchdog
from tests.support.wait import eventually


def active(lane: Lane = Lane.ASYNC, **more: Any) -> Active:
    facts: dict[str, Any] = {
        "id": "00000000-0000-0000-0000-000000000001",
        "timeout_ms": None,
        "left_s": None,
        "crashes": 0,
    }
    facts.update(more)
    fields: dict[str, Any] = {name: facts.get(name) for name in Run.__dataclass_fields__}
    return Active(Run(**{**fields, "lane": int(lane)}), "default", 1)


class Starts:
    """Slots whose lanes only note what was started."""

    def __init__(self, concurrency: int, threads: int = 64) -> None:
        self.started: list[Active] = []
        limits = {Lane.ASYNC: concurrency, Lane.THREAD: threads, Lane.PROCESS: 2, Lane.PLATFORM: 5}
        self.slots = Slots(concurrency, limits)
        self.slots.starts = dict.fromkeys(Lane, self.started.extend)


@pytest.mark.req("X-01")
def test_never_more_than_the_concurrency_runs_and_the_oldest_claim_starts_first() -> None:
    it = Starts(3)
    records = [active(Lane.THREAD if n % 2 else Lane.ASYNC) for n in range(8)]
    it.slots.admit(records)
    assert set(it.started) == set(records[:3])
    it.slots.release(records[0].lane, 1, 0.1)
    assert set(it.started) == set(records[:4])


@pytest.mark.req("X-02")
def test_a_full_lane_holds_up_no_other() -> None:
    it = Starts(10, threads=1)
    threads = [active(Lane.THREAD) for _ in range(3)]
    others = [active() for _ in range(3)]
    it.slots.admit([*threads, *others])
    assert it.started.count(threads[0]) == 1
    assert set(others) <= set(it.started)
    assert len(it.started) == 4


@pytest.mark.req("R-07")
def test_polls_have_slots_of_their_own() -> None:
    it = Starts(1)
    it.slots.admit([active(), *(active(Lane.PLATFORM) for _ in range(7))])
    assert Counter(rec.lane for rec in it.started) == {Lane.ASYNC: 1, Lane.PLATFORM: 5}
    assert it.slots.free(Lane.PLATFORM) == 0
    assert it.slots.want() == 0


@pytest.mark.req("F-02")
def test_short_tasks_are_claimed_ahead_and_long_ones_are_not() -> None:
    it = Starts(10)
    for _ in range(5):
        it.slots.admit([active() for _ in range(100)])
        it.slots.release(Lane.ASYNC, 10, 10 * LOOK_AHEAD_S * 2)
    assert it.slots.want() == 0
    it = Starts(10)
    end_s = time.monotonic() + 0.2
    while time.monotonic() < end_s:
        it.slots.running[Lane.ASYNC] = 10
        it.slots.release(Lane.ASYNC, 10, 0.0)
    assert it.slots.want() == 200


@pytest.mark.req("X-12")
def test_what_waits_longer_than_250_ms_is_given_back() -> None:
    it = Starts(1)
    records = [active() for _ in range(3)]
    it.slots.admit(records)
    assert it.slots.overdue() == []
    records[1].claimed_s -= 0.3
    assert it.slots.overdue() == [records[1]]


@pytest.mark.req("X-03")
def test_the_watchdog_ends_runs_at_their_own_time_and_forgets_those_that_are_done() -> None:
    expired: list[Active] = []
    dog = Watchdog(expired.append)
    short, done = active(timeout_ms=30), active(timeout_ms=30)
    long = active(timeout_ms=60_000)
    sooner = active(timeout_ms=60_000, left_s=0.03)
    dog.watch([long, short, done, sooner])
    done.done = True
    end_s = time.monotonic() + 0.2
    while time.monotonic() < end_s:
        dog.step(0.05)
    assert set(expired) == {short, sooner}
    assert sooner.by_deadline
    assert not short.by_deadline


@pytest.mark.req("X-13")
def test_an_outcome_survives_the_way_from_child_to_parent_as_json() -> None:
    ours, theirs = socket.socketpair()
    outcome = Outcome(
        task_id="x",
        token=1,
        kind=Kind.SUCCEEDED,
        state=State.COMPLETED,
        status=Status.SUCCESS,
        result={"ü": [1, None]},
    )
    sender = threading.Thread(
        target=Frames(theirs).send, args=({"outcome": msgspec.to_builtins(outcome)},)
    )
    sender.start()
    message = Frames(ours).receive()
    sender.join()
    assert message is not None
    assert msgspec.convert(message["outcome"], Outcome) == outcome
    theirs.close()
    assert Frames(ours).receive() is None


def rows(**weights: int) -> list[catalog.QueueRow]:
    return [
        catalog.QueueRow(
            id=n,
            name=name,
            tenant_id=1,
            base_id=None,
            weight=weight,
            capacity=None,
            level=0,
            paused=False,
        )
        for n, (name, weight) in enumerate(weights.items(), 1)
    ]


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Served:
    served = Served([], strict=False)
    found = rows(critical=10, high=6, default=4)
    monkeypatch.setattr(Served, "rows", lambda _self: found)
    return served


@pytest.mark.req("Q-02", "X-12", "AC15")
def test_full_queues_come_first_as_often_as_their_weights_say(three: Served) -> None:
    random.seed(7)
    first = Counter(three.order()[0].name for _ in range(10_000))
    for name, weight in (("critical", 10), ("high", 6), ("default", 4)):
        assert first[name] / 10_000 == pytest.approx(weight / 20, rel=0.1)


@pytest.mark.req("Q-02", "AC14")
def test_strict_takes_the_highest_weight_first_always(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows(low=1, critical=10, high=6)
    monkeypatch.setattr(Served, "rows", lambda _self: found)
    served = Served([], strict=True)
    assert all(
        [row.name for row in served.order()] == ["critical", "high", "low"] for _ in range(50)
    )


@pytest.mark.req("X-12")
def test_among_equal_weights_the_longer_queue_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows(a=1, b=1)
    monkeypatch.setattr(Served, "rows", lambda _self: found)
    monkeypatch.setattr(Served, "_known_depths", lambda _self, _rows: {"a": 3, "b": 70})
    served = Served([], strict=False)
    assert {served.order()[0].name for _ in range(50)} == {"b"}


@pytest.fixture
def lane() -> Iterator[AsyncLane]:
    it = AsyncLane(lambda _ended: None, lambda _begun: None, lambda: None)
    yield it
    it.close()
    it.thread.join(5)
    assert not it.thread.is_alive()


@pytest.mark.req("X-02")
def test_a_loop_blocked_by_nobody_that_can_be_named_is_hopeless_too(
    lane: AsyncLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("_LOOK_S", 0.01), ("_LATE_S", 0.05), ("_HOPELESS_S", 0.2)):
        monkeypatch.setattr(watchdog, name, seconds)
    convicted: list[Active | None] = []
    watch = watchdog.LoopWatch(lane, convicted.append)
    free = threading.Event()
    lane.loop.call_soon_threadsafe(free.wait, 5)
    watch.step([], busy=False)
    assert not watch.blocked

    def looked() -> bool:
        watch.step([], busy=True)
        return bool(convicted)

    eventually(looked, 4)
    free.set()
    assert set(convicted) == {None}
    assert watch.blocked


@pytest.mark.req("X-02")
def test_a_loop_that_is_stopped_from_within_turns_on_and_says_so_once() -> None:
    said: list[str] = []
    it = AsyncLane(lambda _e: None, lambda _b: None, lambda: said.append("broken"))
    answered = threading.Event()

    def leave() -> None:
        raise SystemExit(1)

    for act in (it.loop.stop, leave, it.loop.stop, answered.set):
        it.loop.call_soon_threadsafe(act)
    assert answered.wait(5)
    assert said == ["broken"]
    it.close()
    it.thread.join(5)
    assert not it.thread.is_alive()
    assert said == ["broken"]
