"""Platforms that are slow, that fail for a while, and that come back to many who wait (F08, F09, F10)."""

import statistics
import time

import pytest

from jobs.store import postgres
from tests.support import faulty, hurried
from tests.support.books import Books
from tests.support.faulty import Faulty
from tests.support.load import LONG, sized
from tests.support.processes import Process, Processes
from tests.support.wait import eventually

pytestmark = pytest.mark.faults

FACTOR = 1.0 if LONG else 0.1
OPEN_S = 30.0 * FACTOR
LONGEST_S = 15.0 * FACTOR  # of the short profile
POLL_S, QUEUED_S = 3.0 * FACTOR, 30.0 * FACTOR
UP = "[Asynq] Polling system initialized"
# How long tasks of a platform took from submit to end.
_TOOK = """
SELECT extract(epoch FROM t.finished_at - i.created_at)::float8 FROM task t JOIN task_info i ON i.id = t.id
WHERE t.state = 6 AND i.platform = ANY(%(names)s) AND i.id = ANY(%(ids)s::uuid[])
"""
_POLLED = "SELECT count(*) FROM platform_task WHERE polls > 0"


def _worker(processes: Processes, **env: str) -> Process:
    process = processes.manage("rqworker", "scheduled", env=hurried.environment(FACTOR, **env))
    process.wait_for(UP, 60)
    return process


def _p95(books: Books, others: list[Faulty], count: int) -> float:
    """95 of 100 tasks of these platforms end within so many seconds."""
    ids = [id_ for one in others for id_ in one.submit(count, seconds=10 * FACTOR)]
    params = {"names": [one.name for one in others], "ids": ids}
    eventually(lambda: len(books.ask(_TOOK, params)) == len(ids), sized(60, 240), every_s=0.25)
    return statistics.quantiles([float(row[0]) for row in books.ask(_TOOK, params)], n=20)[-1]


@pytest.mark.req("F08", "E-05")
def test_a_platform_that_answers_after_a_minute_holds_up_no_other(
    processes: Processes, books: Books
) -> None:
    count = sized(15, 100)
    with faulty.platforms(5, profile="short", time_limit=3600) as made:
        slow, others = made[0], made[1:]
        slow.queue = True
        process = _worker(processes, TASKCENTER_POLL_SLOTS="20")
        stuck = slow.submit(sized(300, 1_000))
        eventually(lambda: books.ask(_POLLED)[0][0] == len(stuck), sized(60, 240), every_s=0.25)
        before = _p95(books, others, count)
        slow.slow_s, slow_s = 60.0 * FACTOR, time.time()
        eventually(lambda: time.time() - slow_s > 4 * POLL_S, 10, every_s=0.05)  # it piles up
        during = _p95(books, others, count)
        assert process.alive
        print("F08", before, during)
    assert during <= 1.5 * before, (during, before)
    assert books.check(finished=False) == []
    assert books.ask("SELECT count(*) FROM task WHERE status = 5") == [(0,)]


@pytest.mark.req("F09", "E-05", "R-05")
def test_a_platform_that_fails_for_a_minute_is_probed_by_three_calls_a_window_and_then_used_again(
    processes: Processes, books: Books
) -> None:
    with faulty.platforms(1, profile="short", time_limit=3600) as [platform]:
        for _ in range(2):
            _worker(processes)
        made = platform.submit(sized(60, 200), never_ends=True)
        eventually(lambda: books.ask(_POLLED)[0][0] == len(made), sized(60, 120), every_s=0.25)
        platform.broken = True
        eventually(lambda: _breaker() == "OPEN", 20)
        eventually(lambda: not platform.calls(since_s=time.time() - OPEN_S / 2), 2 * OPEN_S)
        began_s = time.time()
        eventually(lambda: time.time() - began_s > 60.0 * FACTOR, 90 * FACTOR + 1, every_s=0.05)
        platform.broken, healthy_s = False, time.time()
        eventually(lambda: _breaker() == "CLOSED", 4 * OPEN_S)
        eventually(lambda: len(platform.calls(since_s=healthy_s)) > len(made), 4 * LONGEST_S + 10)
        windows = faulty.clusters(platform.calls(began_s, healthy_s), OPEN_S / 2)
        assert windows
        assert max(len(window) for window in windows) <= 3
        closed = platform.calls(since_s=healthy_s)[2]  # two good answers close it
        assert closed - healthy_s <= 2 * (OPEN_S + LONGEST_S)
    assert books.check(finished=False) == []
    assert books.ask("SELECT count(*) FROM task WHERE status IN (5, 9)") == [(0,)]


def _breaker() -> str:
    rows = postgres.query("SELECT state FROM breaker WHERE name LIKE 'platform:%%'")
    return str(rows[0][0]) if rows else "CLOSED"


@pytest.mark.req("F10", "R-07")
def test_polls_that_fell_due_during_an_outage_of_their_platform_come_back_spread(
    processes: Processes, books: Books
) -> None:
    count = sized(120, 5_000)
    with faulty.platforms(1, time_limit=3600) as [platform]:
        platform.queue = True
        _worker(processes)
        made = platform.submit(count)
        enough = (
            "SELECT count(*) FROM platform_task WHERE polls >= 5"  # then 30 s lie between polls
        )
        eventually(lambda: books.ask(enough)[0][0] == len(made), 120 * FACTOR + 60, every_s=0.25)
        platform.broken = True
        eventually(lambda: _breaker() == "OPEN", 2 * QUEUED_S + 10)
        eventually(lambda: not platform.calls(since_s=time.time() - OPEN_S / 2), 3 * OPEN_S)
        platform.broken, healthy_s = False, time.time()
        eventually(lambda: len(platform.calls(since_s=healthy_s)) > 2 * count, 12 * QUEUED_S + 10)
        steady = count / QUEUED_S
        window_s = QUEUED_S / 5
        assert faulty.busiest(platform.calls(since_s=healthy_s), window_s) <= 2 * steady * window_s


@pytest.mark.req("F10", "R-07")
def test_polls_that_fell_due_while_no_worker_ran_keep_to_their_platforms_rate(
    processes: Processes, books: Books
) -> None:
    count, rate_per_s = sized(150, 5_000), sized(50, 200)
    with faulty.platforms(1, time_limit=3600, rate_per_s=rate_per_s) as [platform]:
        first = _worker(processes)
        made = platform.submit(count, never_ends=True)
        eventually(lambda: books.ask(_POLLED)[0][0] == len(made), sized(60, 300), every_s=0.25)
        first.kill()
        postgres.query("UPDATE task SET run_at = now() WHERE state IN (3, 4) RETURNING 1")
        back_s = time.time()
        _worker(processes)
        eventually(
            lambda: len(platform.calls(since_s=back_s)) > 2 * count, 60 + 3 * count / rate_per_s
        )
        assert faulty.busiest(platform.calls(since_s=back_s), 1.0) <= 2 * rate_per_s
