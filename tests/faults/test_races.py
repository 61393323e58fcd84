"""Many threads on the same few tasks and keys (F11, F13)."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from django.db import connection, transaction

from jobs.domain.errors import IdempotencyMismatch
from jobs.operations import duties, runs
from jobs.operations.locks import Refused
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit, submit_many
from tests.support import api, engine
from tests.support.books import Books
from tests.support.engine import Hand
from tests.support.load import USERS, accepted, sized

pytestmark = pytest.mark.faults


def together(count: int, work: Callable[[int], object]) -> list[object]:
    """Run `work(0)` … `work(count - 1)` on that many threads, started at one moment; raises what they raise."""
    gate = threading.Barrier(count)

    def one(n: int) -> object:
        gate.wait(30)
        try:
            return work(n)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def _shuffled(ids: Sequence[str], seed: int) -> list[str]:
    return random.Random(seed).sample(list(ids), len(ids))


@pytest.mark.req("F11", "C-02")
def test_threads_that_cancel_fail_and_time_out_the_same_tasks_refund_each_of_them_once(
    books: Books,
) -> None:
    count, threads = sized(60, 200), sized(20, 50)
    caller = api.client("operate")
    ids = accepted([_charged_task(n) for n in range(count)])
    hand = Hand()
    active = {run.id: run for run in runs.claim(hand.id, ids[: count // 2])}
    passed = datetime.now(UTC) - timedelta(seconds=1)
    for id_ in ids[count // 2 :]:
        books.ask(
            "UPDATE task SET deadline = %(at)s WHERE id = %(id)s RETURNING 1",
            {"at": passed, "id": id_},
        )
    codes: Counter[int] = Counter()

    def cancel(n: int) -> None:
        client = api.ApiClient(key=caller.key, client=type(caller.client)())
        for id_ in _shuffled(ids, n):
            body = {"task_id": id_, "force": n % 2 == 0}
            codes[client.post("/queue/tasks/cancel", body).status_code] += 1

    def work(n: int) -> None:
        match n % 4:
            case 2:
                for id_ in _shuffled(list(active), n):
                    runs.settle(hand.id, [engine.failed(active[id_])])
            case 3:
                for _ in range(3):
                    duties.sweep_deadlines()
            case _:
                cancel(n)

    together(threads, work)
    assert set(codes) <= {200, 202, 409}
    assert codes[409] > codes[200]
    assert books.check(accepted=ids) == []
    assert books.ask("SELECT count(*) FROM credit_entry WHERE kind = 3") == [(count,)]
    assert books.deadlocks() == 0


def _charged_task(n: int) -> TaskRequest:
    return TaskRequest(type="debug:noop", user_id=USERS[n % len(USERS)], credits=3)


@pytest.mark.req("F13", "S-06")
def test_threads_with_the_same_keys_in_shuffled_batches_make_one_charged_task_per_key(
    books: Books,
) -> None:
    keyed = [
        msgspec.structs.replace(_charged_task(n), idempotency_key=f"key-{n}")
        for n in range(sized(20, 100))
    ]

    def work(n: int) -> dict[str, UUID]:
        mine = random.Random(n).sample(keyed, len(keyed))
        results = submit_many(mine)
        assert not [r for r in results if isinstance(r, Refused)]
        return {
            str(request.idempotency_key): result.id
            for request, result in zip(mine, results, strict=True)
            if not isinstance(result, Refused)
        }

    answers = together(sized(16, 50), work)
    assert all(answer == answers[0] for answer in answers)
    assert books.ask("SELECT count(*) FROM task") == [(len(keyed),)]
    assert books.check(finished=False) == []
    assert books.deadlocks() == 0


@pytest.mark.req("F13", "S-06")
def test_another_body_under_a_key_is_refused_and_a_rolled_back_winner_leaves_it_to_the_next(
    books: Books,
) -> None:
    stored, may_end = threading.Event(), threading.Event()

    class Undone(Exception):
        pass

    def winner() -> None:
        with transaction.atomic():
            submit("debug:noop", {"n": 1}, idempotency_key="k", user_id=901, credits=3)
            stored.set()
            may_end.wait(20)
            raise Undone

    def work(n: int) -> object:
        if n == 0:
            with pytest.raises(Undone):
                winner()
            return None
        stored.wait(20)
        if n == 1:
            may_end.set()
        return submit("debug:noop", {"n": 2}, idempotency_key="k", user_id=901, credits=3).id

    answers = together(sized(10, 50), work)
    assert len(set(answers[1:])) == 1
    with pytest.raises(IdempotencyMismatch):
        submit("debug:noop", {"n": 1}, idempotency_key="k", user_id=901, credits=3)
    assert books.ask("SELECT count(*) FROM task") == [(1,)]
    assert books.ask("SELECT count(*) FROM credit_entry WHERE kind = 2") == [(1,)]
    assert books.check(finished=False) == []
