"""Claims from the rows alone, while others claim or hold the same rows: nobody goes away empty-handed."""

import threading

import pytest
from django.db import connections

from jobs.operations import row_claims, tasks
from jobs.operations.requests import TaskRequest
from jobs.store import catalog
from tests.support.database import other_connection
from tests.support.engine import Hand

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.req("P-02", "X-12")]

_EACH = 10


def _submit(count: int) -> None:
    tasks.submit_many([TaskRequest(type="debug:noop") for _ in range(count)])


def _claim(hand: Hand) -> list[str]:
    queues = [(row, _EACH, _EACH) for row in catalog.queues().rows]
    return [run.id for run in row_claims.claim_pending(hand.id, queues, _EACH).runs]


def test_rows_that_somebody_keeps_locked_hide_nothing_behind_them() -> None:
    _submit(3 * _EACH)
    hand = Hand()
    with other_connection() as other, other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT id FROM task WHERE state = 1 ORDER BY ord LIMIT 15 FOR UPDATE")
        assert len(_claim(hand)) == _EACH
        cursor.execute("ROLLBACK")


def test_workers_that_claim_at_once_all_get_what_they_want() -> None:
    rounds, workers = 15, 3
    _submit(rounds * workers * _EACH)
    found: list[list[str]] = []
    together = threading.Barrier(workers)

    def work(hand: Hand) -> None:
        for _ in range(rounds):
            together.wait()
            found.append(_claim(hand))
        connections.close_all()

    threads = [threading.Thread(target=work, args=(Hand(f"w{n}"),)) for n in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {len(claimed) for claimed in found} == {_EACH}
    assert len({id_ for claimed in found for id_ in claimed}) == rounds * workers * _EACH
