"""Workers that are killed, frozen and restarted under load (F01, F05, F23)."""

import random
import signal
import time

import pytest

from jobs.operations.requests import TaskRequest
from tests.support.books import Books
from tests.support.load import Fleet, accepted, charged, sized
from tests.support.processes import Processes
from tests.support.wait import eventually

pytestmark = pytest.mark.faults


@pytest.mark.req("F01", "X-09", "P-03", "AF02")
def test_random_kills_lose_double_and_refund_nothing_wrongly(
    processes: Processes, books: Books
) -> None:
    dice = random.Random(1)
    fleet = Fleet(processes, 3)
    fleet.ready()
    ids = accepted(charged(sized(400, 10_000), seconds=0.05))
    for _ in range(sized(12, 200)):
        time.sleep(dice.uniform(0.1, 0.5))
        fleet.strike(dice)
        fleet.replace()
        assert books.look_at_ends() == []
    last_s = time.monotonic()
    eventually(lambda: books.unfinished() == 0, 60, every_s=0.25)
    assert time.monotonic() - last_s < 30
    assert books.check(accepted=ids) == []
    assert books.deadlocks() == 0
    failing = sum(n % 100 < 14 for n in range(len(ids)))
    statuses = books.ask("SELECT status, count(*) FROM task GROUP BY 1 ORDER BY 1")
    assert statuses == [(4, len(ids) - failing), (5, failing)]
    assert books.ask("SELECT sum(crashes) > 0 FROM task") == [(True,)]  # the kills did hit


@pytest.mark.req("F05", "X-07", "AC32")
def test_workers_frozen_beyond_their_lease_write_nothing_when_they_thaw(
    processes: Processes, books: Books
) -> None:
    frozen = Fleet(processes, sized(3, 12))
    frozen.ready()
    request = TaskRequest(type="debug:sleep", payload={"seconds": 6}, user_id=901, credits=3)
    ids = accepted([request] * (8 * frozen.size))
    eventually(
        lambda: (
            books.ask("SELECT count(DISTINCT worker_id) FROM task WHERE state = 2")[0][0]
            == frozen.size
        )
    )
    other = Fleet(processes, 1, args=("--concurrency", "200"))
    other.ready()
    for member in frozen.members:
        member.signal(signal.SIGSTOP)
    taken = "SELECT count(*) FROM task WHERE state = 2 AND token > 1"
    eventually(lambda: books.ask(taken)[0][0] > 0, sized(25, 60), every_s=0.1)
    for member in frozen.members:  # their runs end at once, long after their time
        member.signal(signal.SIGCONT)
    for member in frozen.members:
        member.wait_for("declared dead; starting over", 40)
    eventually(lambda: books.unfinished() == 0, 30, every_s=0.25)
    assert books.check(accepted=ids) == []
    # An end sooner than its run can have taken was written by the run before it.
    early = "SELECT id FROM task WHERE finished_at - started_at < interval '6 seconds'"
    assert books.ask(early) == []
    late = accepted(charged(20, seed=2))  # under new ids they work on
    eventually(lambda: books.unfinished() == 0, 40)
    assert books.check(accepted=[*ids, *late]) == []


@pytest.mark.req("F23", "X-08")
def test_rolling_restarts_lose_and_refund_nothing_and_hardly_repeat(
    processes: Processes, books: Books
) -> None:
    dice = random.Random(23)
    fleet = Fleet(processes, 2, env={"TASKCENTER_STOP_GRACE_S": "2"})
    fleet.ready()
    ids = accepted(charged(sized(400, 10_000), seconds=0.2))
    for _ in range(sized(4, 20)):
        time.sleep(dice.uniform(0.1, 0.8))
        leaving = dice.choice(fleet.members)
        leaving.signal(signal.SIGTERM)
        leaving.wait(30)
        fleet.replace()
    eventually(lambda: books.unfinished() == 0, 60, every_s=0.25)
    assert books.check(accepted=ids) == []
    [(crashed, repeated)] = books.ask(
        "SELECT count(*) FILTER (WHERE crashes > 0), count(*) FILTER (WHERE runs > 1) FROM task"
    )
    assert crashed == 0
    assert repeated <= len(ids) / 100
