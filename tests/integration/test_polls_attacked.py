"""Polls without a claim under attack: one bad platform or answer costs no other task anything."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections

from jobs.builtin import platform_asking
from jobs.domain.states import State
from jobs.operations import actions, duties, polls, queues
from jobs.platforms import base
from jobs.platforms.replicate import ReplicateAdapter
from jobs.store import catalog, postgres
from jobs.worker import asking
from jobs.worker import duties as worker_duties
from jobs.worker.asking import Asker
from jobs.worker.duties import Leases
from tests.support import faulty, unclaimed
from tests.support.database import other_connection
from tests.support.engine import row
from tests.support.platforms import Pump, Stubbed, ask, fact, fast, pump, register, stub
from tests.support.wait import eventually

pytestmark = pytest.mark.usefixtures("engine", "fast")

__all__ = ["fast", "pump", "stub"]


@pytest.mark.req("E-04", "P-03")
def test_a_credential_that_cannot_be_opened_stops_no_other_platforms_polls(
    stub: Stubbed, pump: Pump
) -> None:
    register("other", stub.server.base_url)
    bad, good = unclaimed.processing(pump, "stub", "other")
    postgres.query("UPDATE platform SET credential_sealed = 'x' WHERE name = 'stub' RETURNING 1")
    before, count = row(bad.id, "xmin::text"), len(stub.polls())
    heard = unclaimed.heard(pump, unclaimed.take())
    assert [run.id for (run, _), _ in heard] == [str(bad.id)]
    assert platform_asking.bring(pump.hand.id, heard) == []
    assert len(stub.polls()) == count + 1
    assert fact(good, "poll_at > clock_timestamp()")
    assert fact(bad, "poll_at > clock_timestamp()")
    assert row(bad.id, "xmin::text") == before


@pytest.mark.req("R-05", "C-02")
def test_a_credential_that_cannot_be_opened_fails_no_task(stub: Stubbed, pump: Pump) -> None:
    made = ask(never_ends=True, seconds=100_000)
    sealed = postgres.query("SELECT credential_sealed FROM platform WHERE name = 'stub'")[0][0]
    change = "UPDATE platform SET credential_sealed = %s WHERE name = 'stub' RETURNING 1"
    postgres.query(change, ["x"])
    pump.until(lambda: row(made.id, "runs") == 1 and row(made.id, "state") != State.ACTIVE)
    assert row(made.id, "state", "retried") == (State.SCHEDULED, 0)
    assert stub.created == 0
    postgres.query(change, [sealed])
    postgres.query(
        "UPDATE task SET run_at = clock_timestamp() WHERE id = %s RETURNING 1", [made.id]
    )
    pump.until(lambda: stub.created == 1)


@pytest.mark.req("R-05")
def test_an_adapter_that_breaks_on_one_answer_makes_no_contact_error_of_the_others(
    stub: Stubbed, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, _ = unclaimed.processing(pump, "stub", "stub")
    asking = unclaimed.take()
    assert len(asking.pairs) == 2
    whole = ReplicateAdapter.poll

    async def breaks(
        self: ReplicateAdapter, requests: list[base.PollRequest]
    ) -> dict[str, base.PollResult]:
        if requests[0].task_id == str(bad.id):
            raise KeyError("status")
        return dict(await whole(self, requests))

    monkeypatch.setattr(ReplicateAdapter, "poll", breaks)
    heard = unclaimed.heard(pump, asking)
    assert [run.id for (run, _), _ in heard] == [str(bad.id)]


@pytest.mark.req("R-04")
def test_an_old_answer_that_comes_late_puts_off_nothing_that_was_learnt_since(
    stub: Stubbed, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    [made] = unclaimed.processing(pump, "stub")
    old = unclaimed.take()
    monkeypatch.setattr("jobs.builtin.platform_polls._SLOW_S", -1.0)
    slow = unclaimed.heard(pump, old)
    assert len(slow) == 1
    [(pair, outcome)] = slow
    postgres.query("UPDATE task SET token = token + 2 WHERE id = %s RETURNING 1", [made.id])
    learnt = (
        "UPDATE platform_task SET poll_at = clock_timestamp() + interval '1 second', polls = 77"
        " WHERE task_id = %s RETURNING poll_at"
    )
    [(planned,)] = postgres.query(learnt, [made.id])
    platform_asking.bring(pump.hand.id, [(pair, replace(outcome, delay_s=30.0))])
    assert (fact(made, "poll_at"), fact(made, "polls")) == (planned, 77)


class _Worker:
    """As much of a worker as its polls need, on a loop of its own."""

    def __init__(self, worker_id: int) -> None:
        self.worker_id = worker_id
        self.stopping = False
        self.active: dict[str, object] = {}
        self.loop = asyncio.new_event_loop()
        self.lanes = self.settler = self.served = self
        self._threads = ThreadPoolExecutor(1)
        self.loop.set_default_executor(self._threads)
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def held_back(self) -> bool:
        return False

    def waiting(self) -> int:
        return 0

    def names(self) -> list[str]:
        return [row.name for row in catalog.queues().rows]

    def put(self, items: object) -> None:
        """Nothing is settled here."""

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self._threads.submit(connections.close_all).result()
        self._threads.shutdown()


@pytest.fixture
def worker(pump: Pump) -> Iterator[Any]:
    made = _Worker(pump.hand.id)
    made.lanes = SimpleNamespace(loop=made)  # type: ignore[assignment]
    yield made
    made.close()


@pytest.mark.req("F08", "E-05")
def test_one_request_without_an_answer_keeps_no_places_of_those_that_were_answered(
    pump: Pump, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_MOST", 10)
    with faulty.platforms(2) as [slow, quick]:
        made = unclaimed.processing(pump, *["p1"] * 9, "p0")
        slow.slow_s, began_s = 8.0, time.time()
        asker = Asker(worker)
        asker.step()

        def asked() -> int:
            unclaimed.due(*made[:9])
            asker.step()
            return len(quick.calls(since_s=began_s))

        eventually(lambda: asked() >= 18, 4)


@pytest.mark.req("R-04", "R-07")
def test_a_task_whose_platform_has_not_answered_yet_is_not_asked_about_again(
    pump: Pump, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_AGAIN_S", 0.05, raising=False)
    with faulty.platforms(1) as [slow]:
        [made] = unclaimed.processing(pump, "p0")
        slow.slow_s, began_s = 2.0, time.time()
        asker = Asker(worker)
        while time.time() < began_s + 1.5:  # its delay is 0.15 s here
            asker.step()
        assert len(slow.calls(since_s=began_s)) == 1

        def again() -> bool:
            asker.step()
            return len(slow.calls(since_s=began_s)) > 1

        eventually(again, 5)
        assert row(made.id, "state") == State.SCHEDULED


@pytest.mark.req("P-03", "A-01")
def test_polls_that_nobody_makes_are_handed_over_without_a_rest_between_full_batches(
    stub: Stubbed, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = unclaimed.processing(pump, "stub", "stub", "stub")
    queues.pause("scheduled", reason="test")
    postgres.query("UPDATE platform_task SET poll_at = poll_at - interval '2 min' RETURNING 1")
    monkeypatch.setattr(polls, "NOBODY_BATCH", 2)
    leases = Leases("by-hand")
    quick = worker_duties.quick(leases)

    def handed_over() -> bool:
        quick.step(0.25)
        return not any(fact(m, "poll_at") for m in made)

    eventually(handed_over, 2)
    leases.release()


@pytest.mark.req("P-03")
def test_after_a_look_that_found_only_others_tasks_due_the_next_passes_them_by(
    stub: Stubbed, pump: Pump
) -> None:
    [made] = unclaimed.processing(pump, "stub")
    queues.pause("scheduled", reason="test")
    postgres.query("UPDATE platform_task SET poll_at = poll_at - interval '10 s' RETURNING 1")
    found = unclaimed.take()
    assert (found.count, found.pairs) == (0, [])
    assert found.oldest is not None
    assert found.oldest > fact(made, "poll_at") + timedelta(seconds=9)
    assert polls.next_due_s(found.oldest - timedelta(seconds=5), at_most_s=0.5) == 0.5
    assert polls.next_due_s(duties.EPOCH_ZERO, at_most_s=0.5) == 0.0


@pytest.mark.req("R-04")
def test_the_time_that_a_request_takes_to_leave_shortens_no_delay(
    stub: Stubbed, pump: Pump
) -> None:
    [made] = unclaimed.processing(pump, "stub")
    taken, taken_s = unclaimed.take(), time.monotonic()
    planned = fact(made, "poll_at")
    eventually(lambda: time.monotonic() > taken_s + 0.3, 1)  # as if the loop were busy
    assert platform_asking.bring(pump.hand.id, unclaimed.heard(pump, taken)) == []
    assert fact(made, "poll_at") > planned


@pytest.mark.req("M-04")
def test_news_of_a_poll_is_logged_with_its_trace_and_its_attempt(stub: Stubbed, pump: Pump) -> None:
    [made] = unclaimed.processing(pump, "stub")
    postgres.query("UPDATE task_info SET trace_id = 'abc' WHERE id = %s RETURNING 1", [made.id])
    runs_before = row(made.id, "runs")
    taken = unclaimed.take()
    for prediction in stub.app.predictions.values():
        prediction.input.update(never_ends=False, seconds=0)
    [(run, _)] = platform_asking.bring(pump.hand.id, unclaimed.heard(pump, taken))
    assert (run.trace_id, run.runs) == ("abc", runs_before + 1)
    assert row(made.id, "runs", "token") == (run.runs, run.token)


@pytest.mark.req("P-03")
def test_a_task_that_somebody_keeps_locked_holds_up_no_other_that_is_handed_over(
    stub: Stubbed, pump: Pump
) -> None:
    held, free = unclaimed.processing(pump, "stub", "stub")
    queues.pause("scheduled", reason="test")
    postgres.query("UPDATE platform_task SET poll_at = poll_at - interval '2 min' RETURNING 1")
    with other_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT 1 FROM task WHERE id = %s FOR UPDATE", [held.id])
        began_s = time.monotonic()
        polls.hand_over()
        assert time.monotonic() - began_s < 1
        assert fact(free, "poll_at") is None
        cursor.execute("ROLLBACK")
    assert row(free.id, "run_at <= clock_timestamp()")
    polls.hand_over()
    assert fact(held, "poll_at") is None
    assert row(held.id, "run_at <= clock_timestamp()")


@pytest.mark.req("P-03", "R-04")
def test_a_task_at_its_time_limit_that_somebody_keeps_locked_holds_up_no_polls(
    stub: Stubbed, pump: Pump
) -> None:
    held, free = unclaimed.processing(pump, "stub", "stub")
    postgres.query(
        "UPDATE platform_task SET expires_at = clock_timestamp() WHERE task_id = %s RETURNING 1",
        [held.id],
    )
    with other_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT 1 FROM task WHERE id = %s FOR UPDATE", [held.id])
        began_s = time.monotonic()
        assert [run.id for run, _ in unclaimed.take().pairs] == [str(free.id)]
        assert time.monotonic() - began_s < 1
        cursor.execute("ROLLBACK")
    unclaimed.due(held)
    unclaimed.take()
    assert row(held.id, "run_at <= clock_timestamp()")


@pytest.mark.req("C-02", "P-03")
def test_a_late_word_that_cannot_be_noted_loses_no_news_of_others(
    stub: Stubbed, pump: Pump
) -> None:
    cancelled, other = unclaimed.processing(pump, "stub", "stub")
    taken = unclaimed.take()
    for prediction in stub.app.predictions.values():
        prediction.input.update(never_ends=False, seconds=0)
    heard = unclaimed.heard(pump, taken)
    actions.cancel(cancelled.id, actor="test")
    with other_connection() as someone, someone.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE event IN EXCLUSIVE MODE")
        brought = platform_asking.bring(pump.hand.id, heard)
        cursor.execute("ROLLBACK")
    assert [run.id for run, _ in brought] == [str(other.id)]
