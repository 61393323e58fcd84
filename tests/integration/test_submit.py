"""Submitting: what is stored, what is refused, and that nothing is half done."""

import threading
from typing import Any

import msgspec
import pytest
from django.db import connection, transaction

from jobs.domain.errors import (
    DuplicateTask,
    IdempotencyMismatch,
    InsufficientCredits,
    Invalid,
    TaskIdInUse,
    TooLarge,
    UnknownQueue,
    UnknownType,
)
from jobs.domain.states import State
from jobs.operations import actions, credits, tickets
from jobs.operations.locks import Refused
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import Submitted, submit, submit_many
from jobs.store import postgres, redis
from tests.support.engine import Hand, balance, dead, row, succeeded

pytestmark = pytest.mark.usefixtures("engine")


def _count() -> int:
    return int(postgres.query("SELECT count(*) FROM task")[0][0])


@pytest.mark.req("S-01", "P-01", "Q-06")
def test_a_submitted_task_is_a_pending_row_with_a_ticket_in_redis() -> None:
    made = submit("debug:noop", {"a": 1})
    assert made.task_id.startswith("task_")
    assert made.job_id == f"job:{made.task_id}:0"
    assert row(made.id, "state", "status", "runs") == (1, 0, 0)
    assert redis.listed("rq:queue:default") == [str(made.id)]


@pytest.mark.req("S-03")
def test_a_rolled_back_transaction_leaves_neither_row_nor_ticket() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        submit("debug:noop")
        assert redis.listed("rq:queue:default") == []
        raise ZeroDivisionError
    assert _count() == 0
    assert redis.listed("rq:queue:default") == []


@pytest.mark.req("S-03")
def test_the_ticket_goes_out_with_the_callers_commit_and_not_before() -> None:
    tickets.warm()
    with transaction.atomic():
        made = submit("debug:noop")
        assert redis.listed("rq:queue:default") == []
    assert redis.listed("rq:queue:default") == [str(made.id)]


@pytest.mark.req("S-02", "S-11", "AC03")
def test_a_delayed_task_waits_as_scheduled_and_a_past_time_means_now() -> None:
    later = submit("debug:noop", process_in=3600)
    past = submit("debug:noop", process_in=-5)
    assert later.state is State.SCHEDULED
    assert past.state is State.PENDING
    assert row(later.id, "run_at > now() + interval '59 minutes'")


@pytest.mark.req("S-02", "AC04")
def test_options_given_at_submit_win_over_the_handlers_defaults() -> None:
    made = submit(
        "debug:noop", queue="critical", max_retries=7, timeout=0.5, retention=60, front=True
    )
    assert row(made.id, "max_retries", "timeout_ms", "retention_s", "ord < 0") == (7, 500, 60, True)


@pytest.mark.req("S-02")
def test_priorities_name_queues() -> None:
    assert submit("debug:noop", priority=3).queue == "critical"
    assert submit("debug:noop", priority="low").queue == "low"


@pytest.mark.req("S-02", "AC06")
def test_a_callers_own_task_id_is_unique_per_tenant() -> None:
    made = submit("debug:noop", task_id="order-17")
    assert made.task_id == "order-17"
    with pytest.raises(TaskIdInUse):
        submit("debug:noop", task_id="order-17")
    assert _count() == 1


@pytest.mark.req("S-05", "AC06", "AF05")
def test_a_duplicate_with_a_taken_id_leaves_no_lock_behind() -> None:
    submit("debug:noop", {"n": 1}, task_id="order-17")
    with pytest.raises(TaskIdInUse):
        submit("debug:noop", {"n": 2}, task_id="order-17", unique_for=60)
    assert submit("debug:noop", {"n": 2}, unique_for=60).task_id


@pytest.mark.req("S-05", "AC07")
def test_a_unique_task_is_refused_until_the_first_ends_and_the_error_names_it() -> None:
    first = submit("debug:noop", {"x": 1}, unique_for=3600)
    with pytest.raises(DuplicateTask) as refused:
        submit("debug:noop", {"x": 1}, unique_for=3600)
    assert refused.value.details["task_id"] == first.task_id
    hand = Hand()
    hand.settle(hand.claim(), succeeded)
    assert submit("debug:noop", {"x": 1}, unique_for=3600).task_id


@pytest.mark.req("S-05", "AC50", "AF10")
@pytest.mark.parametrize("how", ["dead", "cancel", "delete", "archive"])
def test_every_kind_of_end_frees_the_unique_lock(how: str) -> None:
    first = submit("debug:noop", {"x": 1}, unique_for=3600)
    if how == "dead":
        hand = Hand()
        hand.settle(hand.claim(), dead)
    else:
        getattr(actions, how)(first.id, actor="test")
    assert submit("debug:noop", {"x": 1}, unique_for=3600).task_id


@pytest.mark.req("S-05", "AC22")
def test_a_lock_that_belongs_to_another_task_by_now_stays() -> None:
    first = submit("debug:noop", {"x": 1}, unique_for=1)
    postgres.query("UPDATE unique_lock SET until = now() - interval '1 second' RETURNING 1")
    second = submit("debug:noop", {"x": 1}, unique_for=3600)
    actions.cancel(first.id, actor="test")
    assert postgres.query("SELECT task_id FROM unique_lock") == [(second.id,)]


@pytest.mark.req("S-05", "AC07")
def test_the_window_of_a_delayed_unique_task_starts_when_it_is_due() -> None:
    submit("debug:noop", {"x": 1}, unique_for=60, process_in=600)
    [(left_s,)] = postgres.query(
        "SELECT extract(epoch FROM until - now())::float8 FROM unique_lock"
    )
    assert 650 < left_s <= 661


@pytest.mark.req("S-06")
def test_the_same_idempotency_key_and_body_returns_the_first_task() -> None:
    first = submit("debug:noop", {"x": 1}, idempotency_key="k")
    again = submit("debug:noop", {"x": 1}, idempotency_key="k")
    assert (again.task_id, again.existing) == (first.task_id, True)
    with pytest.raises(IdempotencyMismatch):
        submit("debug:noop", {"x": 2}, idempotency_key="k")
    assert _count() == 1


@pytest.mark.req("S-06")
def test_a_refused_submit_does_not_use_up_its_idempotency_key() -> None:
    submit("debug:noop", {"x": 1}, unique_for=60)
    with pytest.raises(DuplicateTask):
        submit("debug:noop", {"x": 1}, unique_for=60, idempotency_key="k")
    postgres.query("DELETE FROM unique_lock RETURNING 1")
    assert not submit("debug:noop", {"x": 1}, unique_for=60, idempotency_key="k").existing


@pytest.mark.req("S-06")
def test_fifty_threads_with_one_idempotency_key_make_one_task() -> None:
    names: list[str] = []
    errors: list[BaseException] = []

    def post() -> None:
        try:
            names.append(submit("debug:noop", idempotency_key="one").task_id)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=post) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len(names) == 50
    assert len(set(names)) == 1
    assert _count() == 1


@pytest.mark.req("S-04", "AC09", "AF11")
def test_each_item_of_a_batch_has_its_own_result_and_one_bad_one_sinks_no_other() -> None:
    results = submit_many(
        [
            TaskRequest(type="debug:noop"),
            TaskRequest(type="no:such"),
            TaskRequest(type="debug:noop", queue="nowhere"),
            TaskRequest(type="debug:noop", task_id="twice"),
            TaskRequest(type="debug:noop", task_id="twice"),
            TaskRequest(type="debug:noop", credits=5, user_id=1),
            TaskRequest(type="debug:noop"),
        ]
    )
    kinds = [type(r.error) if isinstance(r, Refused) else "ok" for r in results]
    assert kinds == ["ok", UnknownType, UnknownQueue, "ok", TaskIdInUse, InsufficientCredits, "ok"]
    assert [r.index for r in results] == list(range(7))
    assert _count() == 3


@pytest.mark.req("S-04")
def test_a_batch_costs_one_insert_however_many_items_it_has() -> None:
    submit("debug:noop")  # caches are warm
    connection.force_debug_cursor = True
    try:
        start = len(connection.queries_log)
        submit_many([TaskRequest(type="debug:noop") for _ in range(300)])
        statements = [q["sql"] for q in list(connection.queries_log)[start:]]
    finally:
        connection.force_debug_cursor = False
    assert len([s for s in statements if "INSERT" in s]) == 1
    assert len(statements) <= 5, statements


@pytest.mark.req("C-01")
def test_a_charge_is_part_of_the_submit_and_a_short_balance_refuses_it() -> None:
    credits.grant(user_id=9, amount=100, reason="test", actor="test")
    submit("debug:noop", user_id=9, credits=60)
    with pytest.raises(InsufficientCredits):
        submit("debug:noop", user_id=9, credits=60)
    assert balance(9) == 40
    assert _count() == 1
    assert credits.mismatches() == []


@pytest.mark.req("C-01", "F14")
def test_fifty_submits_against_a_balance_for_ten_accept_ten() -> None:
    credits.grant(user_id=9, amount=100, reason="test", actor="test")
    results: list[Any] = []

    def post() -> None:
        try:
            results.append(submit("debug:noop", user_id=9, credits=10))
        except InsufficientCredits as error:
            results.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=post) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(isinstance(r, Submitted) for r in results) == 10
    assert len(results) == 50
    assert balance(9) == 0
    assert credits.mismatches() == []


@pytest.mark.req("S-07")
@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"a": "x\x00y"}, Invalid),
        ({"a\x00": 1}, Invalid),
        ({"a": "\ud800"}, Invalid),
        ({"a": float("nan")}, Invalid),
        ({"a": "x" * 70_000}, TooLarge),
        ({"a": {1, 2}}, Invalid),
    ],
)
def test_what_cannot_be_stored_is_refused_with_nothing_stored(
    payload: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        submit("debug:echo", payload)
    assert _count() == 0


@pytest.mark.req("S-07")
def test_too_deep_a_payload_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(40):
        deep = [deep]
    with pytest.raises(TooLarge):
        submit("debug:echo", {"deep": deep})


@pytest.mark.req("S-07", "AC17")
def test_large_integers_arrive_unchanged() -> None:
    made = submit("debug:echo", {"n": 2**60 + 1})
    [run] = Hand().claim()
    assert run.id == str(made.id)
    assert str(2**60 + 1) in run.payload_json


@pytest.mark.req("S-07")
def test_any_json_value_is_a_payload() -> None:
    payloads: list[Any] = [None, False, 0, "", [], [None], {"a": None}]
    made = submit_many([TaskRequest(type="debug:echo", payload=payload) for payload in payloads])
    ids = [one.id for one in made if isinstance(one, Submitted)]
    asked = "SELECT payload::text FROM task_info WHERE id = %s"
    assert [msgspec.json.decode(postgres.query(asked, [id_])[0][0]) for id_ in ids] == payloads


@pytest.mark.req("S-07")
def test_a_payload_that_does_not_fit_its_handler_is_refused_naming_the_field() -> None:
    with pytest.raises(Invalid, match="seconds"):
        submit("debug:sleep", {"seconds": "long"})


@pytest.mark.req("Q-07")
def test_nobody_can_submit_to_the_dead_letters() -> None:
    with pytest.raises(Invalid):
        submit("debug:noop", queue="dead_letter")


@pytest.mark.req("S-10")
def test_shards_run_as_tasks_of_their_own_and_end_their_parent() -> None:
    parent = submit("debug:fanout", {"shards": 3})
    assert parent.state is State.AGGREGATING
    hand = Hand()
    claimed = hand.claim()
    assert len(claimed) == 3
    hand.settle(claimed[:2], succeeded)
    assert row(parent.id, "state") == State.AGGREGATING
    hand.settle(claimed[2:], dead)
    assert row(parent.id, "state", "status") == (6, 5)
    assert postgres.query("SELECT total, done, failed FROM shard_count") == [(3, 2, 1)]
