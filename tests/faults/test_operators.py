"""Ten operators whose bulk actions overlap (F12)."""

import random
from uuid import UUID

import pytest

from jobs.domain.errors import TaskCenterError
from jobs.operations import actions, aftermath, emptying, runs
from tests.faults.test_races import together
from tests.integration import plan_support as plans
from tests.support import api, engine
from tests.support.books import Books
from tests.support.engine import Hand
from tests.support.load import accepted, sized
from tests.support.load import charged as requests

pytestmark = pytest.mark.faults

OPERATORS = 10


def _mixed(count: int) -> tuple[Hand, list[str]]:
    """Charged tasks that wait, run, are to be tried again, are put aside, or are dead letters."""
    ids = accepted(requests(count))
    hand = Hand()
    claimed = runs.claim(hand.id, engine.pending(count // 2))
    ends = (engine.dead, engine.retried, engine.failed)
    runs.settle(hand.id, [ends[n % 3](run) for n, run in enumerate(claimed) if n % 4])
    waiting = engine.pending(count // 8)
    for id_ in waiting:
        actions.archive(UUID(id_), actor="test")
    return hand, ids


_PLANS = ("cancel", "cancel", "redrive", "retry", "archive")
_ALL = {"states": ["pending", "scheduled", "retry", "archived"]}


@pytest.mark.req("F12", "C-02", "C-04")
def test_operators_with_overlapping_bulk_actions_do_not_deadlock_and_the_books_stay_right(
    books: Books,
) -> None:
    hand, ids = _mixed(sized(120, 2_000))
    books.look_at_ends()
    key = api.client("operate").key

    def batch(n: int) -> None:
        client = api.ApiClient(key=key, client=api.client().client)
        for start in range(0, len(ids), 100):
            chosen = random.Random(n).sample(
                ids[start : start + 100], len(ids[start : start + 100])
            )
            response = client.post("/queue/tasks/cancel/batch", {"task_ids": chosen})
            assert response.status_code in (200, 409), response.content

    def single(n: int) -> None:
        for id_ in random.Random(n).sample(ids, len(ids)):
            act = (actions.run_now, actions.archive, actions.cancel)[hash((id_, n)) % 3]
            try:
                act(UUID(id_), actor="test")
            except TaskCenterError:
                continue

    frozen = [plans.draft(action, _ALL) for action in _PLANS]
    assert all(plan.tasks for plan in frozen)

    def work(n: int) -> None:
        match n:
            case 0 | 1 | 2 | 3 | 4:
                plans.execute(frozen[n], frozen[n].tasks)
                plans.run(frozen[n], most=200)  # what others changed meanwhile is skipped
            case 5 | 6:
                batch(n)
            case 7:
                emptying.empty("dead_letter", actor="test")
            case _:
                single(n)

    together(OPERATORS, work)
    assert books.deadlocks() == 0
    assert books.check(finished=False) == []
    _to_the_end(hand, books)
    assert books.check() == []


def _to_the_end(hand: Hand, books: Books) -> None:
    """What is left runs well, and what was put aside is cancelled."""
    for _ in range(50):
        aftermath.advance()
        left = [
            UUID(row[0])
            for row in books.ask(
                "SELECT id::text FROM task WHERE state <> 6 AND NOT (state = 5 AND status = 5)"
            )
        ]
        if not left:
            return
        held = runs.claim(hand.id, engine.pending(5_000))
        runs.settle(hand.id, [engine.succeeded(run) for run in held])
        for id_ in left:
            try:
                actions.cancel(id_, actor="test", force=True)
            except TaskCenterError:
                continue
    raise AssertionError("something is still left")
