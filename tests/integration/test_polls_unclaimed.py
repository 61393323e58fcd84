"""Polls without a claim: what they write, who may make them, and that no news is lost or told twice."""

import threading

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from jobs.builtin import platform_asking
from jobs.builtin.platform_asking import Heard
from jobs.domain.errors import Invalid
from jobs.domain.states import State
from jobs.models import Platform, Queue
from jobs.operations import actions, breakers, duties, polls, queues
from jobs.store import catalog, postgres
from tests.support import unclaimed
from tests.support.engine import Hand, balance, entries, row
from tests.support.platforms import (
    SCALE,
    USER,
    Pump,
    Stubbed,
    fact,
    fast,
    pump,
    register,
    stub,
)

pytestmark = pytest.mark.usefixtures("engine", "fast")

__all__ = ["fast", "pump", "stub"]
SUCCESS, FAILURE = 4, 5


def _succeed(stub: Stubbed) -> None:
    for prediction in stub.app.predictions.values():
        prediction.input.update(never_ends=False, seconds=0)


@pytest.mark.req("R-07", "R-04")
def test_an_answer_without_news_leaves_the_task_untouched_and_costs_its_other_half_one_update(
    stub: Stubbed, pump: Pump
) -> None:
    [made] = unclaimed.processing(pump)
    before = row(made.id, "xmin::text", "state", "runs", "token")
    count, polls_ = len(stub.polls()), fact(made, "polls")
    asking = unclaimed.take()
    assert [run.id for run, _ in asking.pairs] == [str(made.id)]
    assert unclaimed.heard(pump, asking) == []
    assert len(stub.polls()) == count + 1
    assert row(made.id, "xmin::text", "state", "runs", "token") == before
    assert before[1] == State.SCHEDULED
    assert fact(made, "polls") == polls_ + 1
    assert fact(made, "poll_at > clock_timestamp()")
    assert fact(made, "silent_since") is None


@pytest.mark.req("T-01", "R-07", "E-01")
@pytest.mark.parametrize("delay_s", [1e300, 1.7e308])
def test_a_platform_whose_delays_are_absurd_keeps_no_poll_of_another(
    stub: Stubbed, pump: Pump, delay_s: float
) -> None:
    [usual], [odd] = unclaimed.processing(pump), unclaimed.processing(pump)
    options = {"poll_first_s": delay_s, "poll_last_s": delay_s}
    register("odd", "https://odd.test")
    Platform.objects.filter(name="odd").update(options=options)
    postgres.query(
        "UPDATE platform_task SET platform_id = %s WHERE task_id = %s RETURNING 1",
        [Platform.objects.get(name="odd").pk, odd.id],
    )
    postgres.query("UPDATE task SET status = 2 WHERE id = %s RETURNING 1", [odd.id])
    for made in (usual, odd):
        unclaimed.due(made)
    assert {run.id for run, _ in unclaimed.take().pairs} == {str(usual.id), str(odd.id)}


@pytest.mark.req("R-07", "V-08")
@pytest.mark.parametrize("last_s", [2_592_001, 1e300])
def test_a_platform_polls_at_least_once_in_thirty_days(last_s: float) -> None:
    asked = {"poll_first_s": 1, "poll_last_s": last_s}
    with pytest.raises(Invalid, match="poll_first_s"):
        register("odd", "https://odd.test", options=asked)


@pytest.mark.req("R-07")
def test_a_hundred_polls_cost_as_many_statements_as_one(stub: Stubbed, pump: Pump) -> None:
    def statements() -> int:
        catalog.queues(fresh=True)
        with CaptureQueriesContext(connection) as seen:
            taken = unclaimed.take()
        assert taken.pairs
        return len(seen)

    unclaimed.processing(pump)
    one = statements()
    for _ in range(99):
        unclaimed.unchanging()
    quiet = (
        "SELECT count(*) FROM platform_task WHERE raw_status = 'processing' AND poll_at IS NOT NULL"
    )
    pump.until(lambda: postgres.query(quiet)[0][0] == 100)
    postgres.query("UPDATE platform_task SET poll_at = clock_timestamp() RETURNING 1")
    assert statements() == one <= 7


@pytest.mark.req("C-02", "X-07")
def test_news_that_two_workers_hear_is_settled_by_one_of_them(stub: Stubbed, pump: Pump) -> None:
    [made] = unclaimed.processing(pump)
    other = Hand("other")
    first = unclaimed.take()
    unclaimed.due(made)
    second = unclaimed.take()
    _succeed(stub)
    heard = unclaimed.heard(pump, first), unclaimed.heard(pump, second)
    assert [len(h) for h in heard] == [1, 1]
    brought: list[int] = []
    together = threading.Barrier(2)

    def bring(worker_id: int, news: list[Heard]) -> None:
        together.wait()
        brought.append(len(platform_asking.bring(worker_id, news)))
        connections.close_all()

    workers = zip((pump.hand.id, other.id), heard, strict=True)
    threads = [threading.Thread(target=bring, args=args) for args in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(brought) == [0, 1]
    assert row(made.id, "state") == State.ACTIVE


@pytest.mark.req("C-02", "C-04")
def test_news_of_a_task_that_was_cancelled_meanwhile_changes_no_books(
    stub: Stubbed, pump: Pump
) -> None:
    [made] = unclaimed.processing(pump)
    asking = unclaimed.take()
    _succeed(stub)
    heard = unclaimed.heard(pump, asking)
    actions.cancel(made.id, actor="test")
    assert platform_asking.bring(pump.hand.id, heard) == []
    assert [kind for kind, _ in entries(made.id)] == [2, 3]
    assert balance(USER) == 30
    noted = postgres.query("SELECT kind FROM event WHERE task_id = %s ORDER BY id", [made.id])
    assert [r[0] for r in noted] == ["cancel", "late_success"]


@pytest.mark.req("P-03", "X-09")
def test_a_poll_whose_worker_dies_is_made_again_one_delay_later(stub: Stubbed, pump: Pump) -> None:
    [made] = unclaimed.processing(pump)
    assert unclaimed.take().pairs  # and nobody asks
    assert not unclaimed.take().pairs
    _succeed(stub)
    pump.ends(made)
    assert row(made.id, "status", "crashes") == (SUCCESS, 0)


def _hold(column: str, held: bool) -> None:
    """A pause of the queue itself, or with its tenant."""
    Queue.objects.filter(name="scheduled").update(**{column: held})
    queues.announce()


@pytest.mark.req("A-01", "X-06", "T-01")
@pytest.mark.parametrize("column", ["paused", "tenant_paused"])
def test_a_paused_queue_is_not_polled_and_after_a_minute_its_tasks_wait_in_it(
    stub: Stubbed, pump: Pump, column: str
) -> None:
    [made] = unclaimed.processing(pump)
    _hold(column, True)
    count = len(stub.polls())
    assert unclaimed.take().count == 0
    assert polls.hand_over() == 0
    postgres.query(
        "UPDATE platform_task SET poll_at = poll_at - %s * interval '1 second' RETURNING 1",
        [polls.NOBODY_S],
    )
    assert polls.hand_over() == 1
    assert fact(made, "poll_at") is None
    duties.dispatch()
    assert row(made.id, "state") == State.PENDING
    _hold(column, False)
    catalog.forget()
    pump.until(lambda: fact(made, "poll_at") is not None)
    assert len(stub.polls()) == count + 1


@pytest.mark.req("X-06")
def test_a_worker_polls_only_tasks_of_its_own_queues(stub: Stubbed, pump: Pump) -> None:
    [made] = unclaimed.processing(pump)
    assert unclaimed.take("critical", "default", "low").count == 0
    assert [run.id for run, _ in unclaimed.take("scheduled").pairs] == [str(made.id)]


@pytest.mark.req("E-05", "R-05")
def test_an_open_breaker_puts_polls_off_and_uses_up_nothing(stub: Stubbed, pump: Pump) -> None:
    [made] = unclaimed.processing(pump)
    before = row(made.id, "xmin::text"), fact(made, "polls"), len(stub.polls())
    breakers.force("stub", "OPEN", until_s=60)
    heard = unclaimed.heard(pump, unclaimed.take())
    assert len(heard) == 1
    assert platform_asking.bring(pump.hand.id, heard) == []
    assert (row(made.id, "xmin::text"), fact(made, "polls"), len(stub.polls())) == before
    assert fact(made, "poll_at > clock_timestamp()")


@pytest.mark.req("R-04")
def test_after_a_slow_answer_the_delay_counts_from_the_answer(
    stub: Stubbed, pump: Pump, monkeypatch: pytest.MonkeyPatch
) -> None:
    [made] = unclaimed.processing(pump)
    asking = unclaimed.take()
    unclaimed.due(made)
    monkeypatch.setattr("jobs.builtin.platform_polls._SLOW_S", -1.0)
    heard = unclaimed.heard(pump, asking)
    assert platform_asking.bring(pump.hand.id, heard) == []
    assert len(heard) == 1
    assert fact(made, "poll_at - clock_timestamp()").total_seconds() > 2 * SCALE


@pytest.mark.req("R-04", "C-02")
def test_at_its_time_limit_a_task_is_not_asked_about_without_a_claim(
    stub: Stubbed, pump: Pump
) -> None:
    [made] = unclaimed.processing(pump)
    postgres.query(
        "UPDATE platform_task SET expires_at = clock_timestamp() WHERE task_id = %s RETURNING 1",
        [made.id],
    )
    assert unclaimed.take().pairs == []
    assert row(made.id, "run_at <= clock_timestamp()")
    pump.drained()
    assert row(made.id, "status") == FAILURE
    assert stub.cancels() == 1


@pytest.mark.req("E-04")
def test_a_platform_that_is_deleted_ends_its_tasks(stub: Stubbed, pump: Pump) -> None:
    [made] = unclaimed.processing(pump)
    postgres.query("DELETE FROM platform WHERE name = 'stub' RETURNING 1")
    pump.ends(made)
    assert row(made.id, "status") == FAILURE
    assert [kind for kind, _ in entries(made.id)] == [2, 3]
