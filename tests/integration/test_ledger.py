"""The reconciler, and the books under everybody at once."""

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from jobs.domain.errors import Conflict, NotFound
from jobs.operations import actions, credits, ledger
from jobs.operations.ledger import Reconciler
from jobs.operations.tasks import submit
from jobs.store import postgres
from tests.support.engine import Hand, balance, failed

pytestmark = pytest.mark.usefixtures("engine")


def _grant(user_id: int, amount: int = 100) -> int:
    return credits.grant(user_id=user_id, amount=amount, reason="t", actor="t").account_id


def _tamper(account: int, by: int) -> None:
    postgres.query(
        "UPDATE account SET balance = balance + %s WHERE id = %s RETURNING 1", [by, account]
    )


def _found() -> list[tuple[int, int, int]]:
    return postgres.query(
        "SELECT account_id, balance, total FROM ledger_mismatch ORDER BY account_id"
    )


@pytest.mark.req("C-03")
def test_a_mismatch_is_reported_until_it_is_gone_and_never_repaired() -> None:
    good, bad = _grant(1), _grant(2)
    reconciler = Reconciler()
    assert reconciler.step() == 0
    _tamper(bad, 7)
    assert reconciler.step() == 1
    assert _found() == [(bad, 107, 100)]
    assert balance(2) == 107
    _grant(2, 5)
    assert Reconciler().step() == 1
    assert _found() == [(bad, 112, 105)]
    _tamper(bad, -7)
    assert reconciler.step() == 0
    assert good


@pytest.mark.req("C-03")
def test_accounts_without_new_entries_are_checked_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "IN_TURN", 2)
    accounts = [_grant(n) for n in range(1, 6)]
    reconciler = Reconciler()
    reconciler.step()
    _tamper(accounts[4], 1)
    found = [reconciler.step() for _ in range(4)]
    assert 1 in found
    assert found[-1] == 1


@pytest.mark.req("C-03")
def test_old_entries_are_summed_once_and_a_wrong_checkpoint_accuses_nobody() -> None:
    [(account,)] = postgres.query(
        "INSERT INTO account (tenant_id, user_id, balance) VALUES (1, 1, 100) RETURNING id"
    )
    postgres.query(
        "INSERT INTO credit_entry (account_id, kind, amount, cycle, reason, actor, created_at)"
        " VALUES (%s, 1, 100, 0, 't', 't', now() - interval '2 hours') RETURNING 1",
        [account],
    )
    _grant(1, 5)
    reconciler = Reconciler()
    assert reconciler.step() == 0
    assert postgres.query("SELECT account_id, total FROM ledger_checkpoint") == [(account, 100)]
    postgres.query("UPDATE ledger_checkpoint SET total = 99 RETURNING 1")
    _grant(1, 5)
    assert reconciler.step() == 0
    assert postgres.query("SELECT 1 FROM ledger_checkpoint") == []


@pytest.mark.req("C-02", "C-03")
def test_cancels_forces_deletes_and_failures_at_once_make_one_refund_a_task() -> None:
    _grant(7, 20_000)
    made = [submit("debug:noop", user_id=7, credits=10).id for _ in range(40)]
    hand = Hand()
    running = hand.claim(20)
    ways: list[Callable[[Any], object]] = [
        lambda id_: actions.cancel(id_, actor="t"),
        lambda id_: actions.cancel(id_, actor="t", force=True),
        lambda id_: actions.delete(id_, actor="t"),
    ]
    unexpected: list[Exception] = []

    def attack(seed: int) -> None:
        chance = random.Random(seed)
        for id_ in chance.sample(made, len(made)):
            try:
                chance.choice(ways)(id_)
            except (Conflict, NotFound):
                pass
            except Exception as error:
                unexpected.append(error)
        connection.close()

    threads = [threading.Thread(target=attack, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    hand.settle(running, failed)
    for thread in threads:
        thread.join()
    assert unexpected == []
    [(charges, refunds, tasks)] = postgres.query(
        "SELECT count(*) FILTER (WHERE kind = 2), count(*) FILTER (WHERE kind = 3),"
        " count(DISTINCT task_id) FILTER (WHERE kind = 3) FROM credit_entry"
    )
    assert (charges, refunds, tasks) == (40, 40, 40)
    assert balance(7) == 20_000
    assert credits.mismatches() == []
