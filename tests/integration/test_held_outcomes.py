"""Outcomes kept because of locks: one account that stays locked, and one whose lock is let go at once."""

import threading
import time
from typing import Any

import pytest

from jobs.operations import credits, tasks
from jobs.worker.records import Active
from jobs.worker.settler import Settler
from tests.support.database import other_connection
from tests.support.engine import Hand, dead, row

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.req("F30")]


def test_an_outcome_whose_account_is_free_again_is_written_although_another_account_stays_locked() -> (
    None
):
    for user in (1, 2):
        credits.grant(user_id=user, amount=1000, reason="t", actor="t")
    short = tasks.submit("debug:noop", user_id=2, credits=1)
    for _ in range(30):
        tasks.submit("debug:noop", user_id=1, credits=1)
    hand = Hand()
    claimed = hand.claim(40)
    items: list[Any] = [(Active(run, "default", hand.id), dead(run)) for run in claimed]
    mine = next(i for i in items if i[0].run.id == str(short.id))
    items.remove(mine)
    settler = Settler(lambda _items: None, acknowledge=False)
    with other_connection() as long, other_connection() as brief:
        long.execute("SELECT 1 FROM account WHERE user_id = 1 FOR UPDATE")
        brief.execute("SELECT 1 FROM account WHERE user_id = 2 FOR UPDATE")
        settler.put([mine])
        settler.step(0.1)
        assert row(short.id, "state") == 2
        brief.rollback()
        stop = threading.Event()

        def fail_steadily() -> None:
            while items and not stop.wait(0.4):
                settler.put([items.pop()])

        feeder = threading.Thread(target=fail_steadily)
        feeder.start()
        start = time.monotonic()
        while time.monotonic() - start < 8.0 and row(short.id, "state") == 2:
            settler.step(0.1)
        stop.set()
        feeder.join()
        long.rollback()
    assert row(short.id, "state") == 5, "kept for 8 s although nobody holds anything of it"
