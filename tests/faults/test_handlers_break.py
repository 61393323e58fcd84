"""Handlers that crash, hang, eat memory and block (F24)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.operations.requests import TaskRequest
from tests.faults import breaking_tasks
from tests.support import load
from tests.support.books import Books
from tests.support.load import USERS, Fleet, accepted, sized
from tests.support.processes import Process, Processes
from tests.support.wait import eventually

pytestmark = pytest.mark.faults

_ENV = {"TASKCENTER_HANDLERS": breaking_tasks.__name__, "TASKCENTER_WORKER_PROCESSES": "4"}
UP = "[Asynq] Polling system initialized"


def charged(type_: str, payload: object = None, count: int = 1, **more: object) -> list[str]:
    """Ids of tasks that cost 3 and are not tried again after a failure."""
    base = {"user_id": USERS[0], "credits": 3, "max_retries": 0, **more}
    return accepted([TaskRequest(type=type_, payload=payload or {}, **base)] * count)  # type: ignore[arg-type]


def sleeper(count: int, seconds: float, lane: str = "async") -> list[str]:
    return charged("debug:sleep", {"seconds": seconds, "lane": lane}, count)


def settled(books: Books) -> bool:
    """Nothing is left to do; nobody waits for a back-off that is not the matter here."""
    books.ask("UPDATE task SET run_at = clock_timestamp() WHERE state = 4 RETURNING 1")
    return books.unfinished() == 0


def ends(books: Books, ids: list[str]) -> set[tuple[int, int, int]]:
    """(state, runs, crashes) that occur among these tasks."""
    asked = "SELECT state::int, runs::int, crashes::int FROM task WHERE id = ANY(%(ids)s::uuid[])"
    return set(books.ask(asked, {"ids": ids}))


@pytest.mark.req("F24", "X-09", "X-03")
def test_children_that_crash_hang_and_eat_memory_end_in_the_dead_letters_and_harm_nobody(
    processes: Processes, books: Books
) -> None:
    fleet = Fleet(processes, 1, args=("--concurrency", "40"), env=_ENV)
    fleet.ready()
    crashing = [id_ for how in ("segfault", "exit", "killed") for id_ in charged(f"break:{how}")]
    hungry = charged("break:memory")
    endless = [
        *charged("break:loop", timeout=1),
        *charged("break:hold", {"seconds": 600}, timeout=1),
    ]
    neighbours = [id_ for lane in ("async", "thread") for id_ in sleeper(10, 3, lane)]
    eventually(lambda: settled(books), sized(60, 120), every_s=0.1)
    assert ends(books, crashing) == {(load.ARCHIVED, 3, 3)}
    assert ends(books, endless) == {(load.ARCHIVED, 1, 0)}
    assert {state for state, _, _ in ends(books, hungry)} == {load.ARCHIVED}
    assert ends(books, neighbours) == {(load.COMPLETED, 1, 0)}
    assert books.check(accepted=[*crashing, *hungry, *endless, *neighbours]) == []
    refunds = books.ask("SELECT count(*), count(DISTINCT task_id) FROM credit_entry WHERE kind = 3")
    assert refunds == [(6, 6)]
    assert fleet.members[0].alive


@pytest.mark.req("F24", "X-09")
def test_one_task_that_kills_its_worker_among_two_hundred_is_the_only_one_convicted(
    processes: Processes, books: Books
) -> None:
    observer = Fleet(processes, 1, args=("low",))  # sees the deaths, runs none of these
    observer.ready()
    neighbours = sleeper(200, 0.2)
    [guilty] = charged("debug:crash", {"times": 99}, front=True)
    pool = processes.manage("rqworker-pool", "default", "-n", "1", "--concurrency", "201", env=_ENV)
    eventually(lambda: settled(books), 90, every_s=0.1)
    assert [end for end in ends(books, [guilty]) if end[0] == load.ARCHIVED and end[2] == 3]
    assert {state for state, _, _ in ends(books, neighbours)} == {load.COMPLETED}
    [(struck,)] = books.ask("SELECT count(*) FROM task WHERE crashes = 2 AND state = 6")
    assert struck > 100  # they did die with it, twice, and ran alone then
    assert books.check(accepted=[guilty, *neighbours]) == []
    assert pool.alive


@pytest.mark.req("F24", "X-05")
def test_an_async_handler_that_blocks_the_loop_is_named_and_five_hundred_others_end(
    processes: Processes, books: Books
) -> None:
    fleet = Fleet(processes, 1, args=("--concurrency", "501"), env=_ENV)
    fleet.ready()
    others = sleeper(500, 1.0)
    [guilty] = charged("break:block", {"seconds": 60, "step_s": 0.05}, timeout=3, front=True)
    line = fleet.members[0].wait_for("handler blocks the event loop", 20)
    assert "break:block" in line
    assert "blocks the event loop" in line
    eventually(lambda: settled(books), 30)
    assert ends(books, [guilty]) == {(load.ARCHIVED, 1, 0)}
    assert ends(books, others) == {(load.COMPLETED, 1, 0)}
    assert books.check(accepted=[guilty, *others]) == []
    assert fleet.members[0].alive


@pytest.mark.req("F24", "X-05")
@pytest.mark.skipif(not load.LONG, reason="a minute and more: FAULTS=long")
def test_a_loop_blocked_by_one_call_for_a_minute_costs_the_process_and_only_the_guilty_task(
    processes: Processes, books: Books
) -> None:
    pool = processes.manage("rqworker-pool", "-n", "1", "--concurrency", "51", env=_ENV)
    pool.wait_for(UP, 60)
    others = sleeper(50, 2.0)
    [guilty] = charged("break:block", {"seconds": 600, "step_s": 600}, timeout=3, front=True)
    pool.wait_for("worker restarts: the event loop is blocked", 90)
    eventually(lambda: settled(books), 60)
    assert ends(books, [guilty]) == {(load.ARCHIVED, 1, 0)}
    assert {state for state, _, _ in ends(books, others)} == {load.COMPLETED}
    assert books.check(accepted=[guilty, *others]) == []
    assert pool.alive


@pytest.mark.req("F24", "X-07")
def test_a_call_that_holds_the_interpreter_beyond_the_lease_ends_everybody_once_in_the_books(
    processes: Processes, books: Books
) -> None:
    observer = Fleet(processes, 1, args=("low",))
    observer.ready()
    held = Fleet(processes, 1, args=("high", "--concurrency", "30"), env=_ENV)
    held.ready()
    neighbours = charged("debug:sleep", {"seconds": 4}, 20, queue="high")
    guilty = charged("break:hold-thread", {"seconds": 13}, queue="high")
    eventually(lambda: ends(books, [*guilty, *neighbours]) == {(load.ACTIVE, 1, 0)})
    held.members[0].wait_for("declared dead; starting over", 40)
    eventually(lambda: settled(books), 40)
    assert ends(books, [*guilty, *neighbours]) == {(load.COMPLETED, 2, 1)}
    assert books.check(accepted=[*guilty, *neighbours]) == []


@pytest.mark.req("F24", "X-04")
def test_threads_that_never_end_are_bounded_by_a_restart_and_nobody_is_lost(
    processes: Processes, books: Books
) -> None:
    pool = processes.manage("rqworker-pool", "-n", "1", "--concurrency", "10", env=_ENV)
    pool.wait_for(UP, 60)
    endless = charged("break:stubborn", count=sized(40, 100), timeout=0.3)
    others = sleeper(20, 0.02, "thread")
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, *_threads(pool), 0)
        return settled(books)

    eventually(done, sized(60, 180), every_s=0.05)
    assert most <= 40  # its own, ten slots, and ten that were given up
    assert ends(books, endless) == {(load.ARCHIVED, 1, 0)}
    assert {state for state, _, _ in ends(books, others)} == {load.COMPLETED}
    assert books.check(accepted=[*endless, *others]) == []
    assert pool.output.count("too many abandoned threads") >= 2
    assert pool.alive


def _threads(process: Process) -> Iterator[int]:
    """How many threads each process of a pool has."""
    yield 0
    for pid in [process.pid, *load.children(process.pid)]:
        folder = Path(f"/proc/{pid}/task")
        yield len(list(folder.iterdir())) if folder.exists() else 0
