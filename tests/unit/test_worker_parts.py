"""The worker's parts that need no stores."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from jobs.domain.outcomes import Kind, Outcome
from jobs.domain.states import Lane, State, Status
from jobs.operations.runs import Run
from jobs.store import catalog
from jobs.store.redis import Batch
from jobs.worker import watchdog
from jobs.worker.frames import Frames
from jobs.worker.lanes.async_lane import AsyncLane
from jobs.worker.records import Active
from jobs.worker.served import Served
from jobs.worker.slots import SHORT_S, Slots
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
        it.slots.release(Lane.ASYNC, 10, 10 * SHORT_S * 2)
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


def served(monkeypatch: pytest.MonkeyPatch, *, strict: bool = False, **weights: int) -> Served:
    """All queues given, with what their rings hold (nothing unless `hold` says otherwise)."""
    known = catalog.Catalog(rows(**weights))
    monkeypatch.setattr(catalog, "queues", lambda **_: known)
    hold(monkeypatch)
    return Served([], strict=strict)


def hold(monkeypatch: pytest.MonkeyPatch, **lengths: int) -> None:
    def read(rings: Sequence[str]) -> list[int]:
        return [lengths.get(ring.removeprefix("tc:ring:"), 0) for ring in rings]

    monkeypatch.setattr("jobs.store.rings.lengths", read)


def draw(it: Served, want: int, full: Container[str]) -> Counter[str]:
    """One fetch, of queues of which some are full and all others empty."""
    plan, left, found = it.plan(Lane.ASYNC, want), want, []
    for ahead in (True, False):
        for place, base in enumerate(plan.families):
            count = min(left, plan.shares[place]) if ahead else left
            if base in full and count:
                found.append(Batch(place, base, ["x"] * count))
                left -= count
    it.gave(plan, found)
    given: Counter[str] = Counter()
    for batch in found:
        given[batch.queue] += len(batch.ids)
    return given


@pytest.mark.req("Q-02", "X-12", "AC15")
@pytest.mark.parametrize("want", [1, 7, 200])
def test_full_queues_give_as_much_as_their_weights_say(
    monkeypatch: pytest.MonkeyPatch, want: int
) -> None:
    it = served(monkeypatch, critical=10, high=6, default=4, scheduled=3, low=1, dead_letter=1)
    full = {"critical": 10, "high": 6, "default": 4, "low": 1}
    hold(monkeypatch, **dict.fromkeys(full, 100_000))
    picked: Counter[str] = Counter()
    while picked.total() < 10_000:
        picked += draw(it, want, full)
    for name, weight in full.items():
        assert picked[name] / picked.total() == pytest.approx(weight / 21, rel=0.1), name


@pytest.mark.req("Q-02", "AC15")
def test_each_queue_is_asked_once_and_an_idle_one_saves_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    it = served(monkeypatch, critical=100, default=20, low=5)
    assert sorted(it.plan(Lane.ASYNC, 10).families) == ["critical", "default", "low"]
    for _ in range(100):
        assert draw(it, 10, {"low"}) == {"low": 10}
    both = sum((draw(it, 10, {"critical", "low"}) for _ in range(100)), Counter())
    assert both["low"] / both.total() == pytest.approx(5 / 105, rel=0.1)


@pytest.mark.req("Q-02", "AC14")
def test_strict_takes_the_highest_weight_first_always(monkeypatch: pytest.MonkeyPatch) -> None:
    it = served(monkeypatch, strict=True, low=1, critical=10, high=6)
    for _ in range(50):
        assert it.plan(Lane.ASYNC, 3).families == ["critical", "high", "low"]
        assert draw(it, 3, {"critical", "low"}) == {"critical": 3}


@pytest.mark.req("X-12")
@pytest.mark.parametrize("strict", [False, True])
def test_among_equal_weights_the_longer_queue_comes_first(
    monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    it = served(monkeypatch, strict=strict, a=1, b=1)
    hold(monkeypatch, a=3, b=70)
    assert it.plan(Lane.ASYNC, 1).families == ["b", "a"]
    assert draw(it, 1, {"a", "b"}) == {"b": 1}


@pytest.mark.req("X-12", "Q-02")
def test_queues_of_equal_weight_share_by_their_lengths_and_none_starves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    it = served(monkeypatch, a=3, b=3, c=6)
    hold(monkeypatch, a=1_000, b=3_000, c=50)
    picked = sum((draw(it, 5, "abc") for _ in range(2_000)), Counter())
    assert picked["a"] / 10_000 == pytest.approx(0.125, rel=0.1)
    assert picked["b"] / 10_000 == pytest.approx(0.375, rel=0.1)
    assert picked["c"] / 10_000 == pytest.approx(0.5, rel=0.1)
    hold(monkeypatch, a=1, b=100_000, c=50)
    it = Served([], strict=False)
    assert sum((draw(it, 5, "abc") for _ in range(200)), Counter())["a"] > 0


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
