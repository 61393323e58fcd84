"""`sweep:collect`: small balances of many accounts go to one, in shards, each exactly once."""

import itertools
import threading
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from jobs.builtin import sweep
from jobs.domain import ids
from jobs.domain.errors import InsufficientCredits, Invalid
from jobs.domain.outcomes import SkipRetry
from jobs.handlers import Context, registry
from jobs.models import Account, CreditEntry, ShardCount, TaskInfo, TaskRun
from jobs.operations import credits, sweeps
from jobs.operations.tasks import submit
from jobs.store import postgres
from tests.support import api
from tests.support.engine import Hand, balance, row, succeeded
from tests.support.processes import Processes
from tests.support.wait import eventually

pytestmark = pytest.mark.req("S-09")
BANK = 1


@pytest.fixture(autouse=True)
def _accounts(engine: None) -> None:
    """A collecting account, then users 101 to 110 with 1 to 10 credits, and one with 1,000."""
    credits.grant(user_id=BANK, amount=5, reason="r", actor="t")
    for n in range(1, 11):
        credits.grant(user_id=100 + n, amount=n, reason="r", actor="t")
    credits.grant(user_id=999, amount=1000, reason="r", actor="t")


def total() -> int:
    return sum(Account.objects.values_list("balance", flat=True))


def run(task_id: str, upto: int = 10**6, at_most: int = 8) -> dict[str, int]:
    payload = sweep.Shard(into=BANK, at_most=at_most, above=0, upto=upto, reason="sweep")
    facts: dict[str, Any] = {"type": "sweep:shard", "queue": "low", "attempt": 1, "retried": 0}
    return sweep.shard(payload, Context(task_id=task_id, **facts))


@pytest.mark.req("S-10", "C-03")
def test_small_balances_are_collected_in_shards_by_a_real_worker(processes: Processes) -> None:
    before = total()
    made = submit("sweep:collect", {"into": BANK, "at_most": 8, "shard_size": 4})
    count = ShardCount.objects.get(task_id=made.id).total
    assert count >= 3
    processes.manage("rqworker")
    eventually(lambda: row(made.id, "state", "status") == (6, 4), timeout_s=30)
    api.forget()
    shown = api.data(api.client("read").get(f"/tasks/{made.task_id}"))
    assert shown["result"] == {"accounts": 8, "amount": sum(range(1, 9))}
    assert balance(BANK) == 5 + sum(range(1, 9))
    assert [balance(100 + n) for n in range(1, 11)] == [0] * 8 + [9, 10]
    assert balance(999) == 1000
    assert total() == before
    assert credits.mismatches() == []
    assert ShardCount.objects.get(task_id=made.id).done == count
    taken = CreditEntry.objects.filter(kind=CreditEntry.ADJUSTMENT, amount__lt=0)
    shards = set(TaskInfo.objects.filter(type="sweep:shard").values_list("id", flat=True))
    assert taken.count() == 8
    assert {entry.task_id for entry in taken} <= shards


@pytest.mark.req("P-03")
def test_a_shard_that_runs_again_moves_nothing_more() -> None:
    task_id = ids.public_id(ids.new_id())
    first = run(task_id)
    assert first == {"accounts": 8, "amount": 36}
    credits.grant(user_id=101, amount=3, reason="meanwhile", actor="t")
    assert run(task_id) == first
    assert balance(101) == 3
    assert run(ids.public_id(ids.new_id())) == {"accounts": 1, "amount": 3}


@pytest.mark.req("P-03", "C-03")
def test_twenty_runs_of_one_shard_at_once_collect_once() -> None:
    from django.db import connection

    task_id, before = ids.public_id(ids.new_id()), total()
    results: list[dict[str, int]] = []

    def go() -> None:
        try:
            results.append(run(task_id))
        finally:
            connection.close()

    threads = [threading.Thread(target=go) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [{"accounts": 8, "amount": 36}] * 20
    assert balance(BANK) == 41
    assert total() == before
    assert credits.mismatches() == []


@pytest.mark.req("C-03")
def test_shards_and_charges_at_once_keep_the_books() -> None:
    """Users spend while their accounts are swept: nothing is lost, no balance falls below zero."""
    from django.db import connection

    before = total()
    refused: list[int] = []

    def spend(user_id: int) -> None:
        try:
            submit("debug:noop", user_id=user_id, credits=1)
        except InsufficientCredits:  # swept a moment before
            refused.append(user_id)
        finally:
            connection.close()

    def collect() -> None:
        try:
            run(ids.public_id(ids.new_id()))
        finally:
            connection.close()

    users = [109, 110, 999, 109, 110, 999]
    threads = [threading.Thread(target=spend, args=(user,)) for user in users]
    threads += [threading.Thread(target=collect) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    charged = -sum(CreditEntry.objects.filter(kind=2).values_list("amount", flat=True))
    assert charged == len(users) - len(refused)
    assert total() == before - charged
    assert credits.mismatches() == []


def test_ranges_cover_every_account_and_grow_when_they_would_be_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    last = Account.objects.order_by("-id")[0].pk
    found = sweeps.ranges(5)
    assert found[0][0] == 0
    assert found[-1][1] >= last
    assert all(a[1] == b[0] for a, b in itertools.pairwise(found))
    monkeypatch.setattr(sweeps, "MAX_SHARDS", 2)
    assert len(sweeps.ranges(1)) == 2


@pytest.mark.req("T-02")
def test_collecting_needs_scope_admin_and_an_account() -> None:
    api.forget()
    body = {"type": "sweep:collect", "payload": {"into": BANK, "at_most": 8}}
    api.error(api.client("submit", "operate").post("/tasks", body), 403)
    api.data(api.client("admin").post("/tasks", body), 201)
    body["payload"] = {"into": 31337, "at_most": 8}
    answer = api.client("admin").post("/tasks", body)
    assert api.error(answer, 422)["details"]["field"] == "into"
    answer = api.client("admin").post("/tasks", {"type": "sweep:shard", "payload": {}})
    assert api.error(answer, 422)["code"] == "unknown_type"
    with pytest.raises(Invalid):
        submit("sweep:collect", {"into": BANK, "at_most": 0})


def test_a_shard_whose_account_is_gone_is_a_dead_letter() -> None:
    Account.objects.filter(user_id=BANK).delete()
    with pytest.raises(SkipRetry):
        run(ids.public_id(ids.new_id()))


@pytest.mark.req("S-10")
def test_a_total_that_fails_keeps_no_shard_from_its_end() -> None:
    def broken(_parent: UUID) -> Any:
        return postgres.query("SELECT 1 / 0")

    sweep_type = registry.handler("sweep:collect")
    made = submit("sweep:collect", {"into": BANK, "at_most": 8, "shard_size": 1_000})
    shards = TaskInfo.objects.filter(type="sweep:shard").count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._HANDLERS, "sweep:collect", replace(sweep_type, total=broken))
        hand = Hand()
        for _ in range(shards):
            hand.settle(hand.claim(), succeeded)
    assert row(made.id, "state", "status") == (6, 4)
    assert not TaskRun.objects.filter(task_id=made.id).exists()
