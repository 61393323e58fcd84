"""What waits for others: long chains, many successors, dead letters in between, and what operators may do to it."""

import pytest
from django.db import connection, transaction

from jobs.domain.errors import DuplicateTask, IllegalTransition, Invalid
from jobs.operations import (
    actions,
    aftermath,
    credits,
    duties,
    groups,
    refilling,
    runs,
    schedules,
    tickets,
)
from jobs.operations.locks import Refused
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit, submit_many
from jobs.store import postgres, redis
from tests.support.engine import Hand, balance, dead, entries, failed, row, succeeded

pytestmark = pytest.mark.usefixtures("engine")


def _states() -> dict[tuple[int, int], int]:
    rows = postgres.query("SELECT state, status, count(*) FROM task GROUP BY 1, 2")
    return {(r[0], r[1]): r[2] for r in rows}


def _age_groups() -> None:
    postgres.query("UPDATE task SET ord = ord - 3600000000 WHERE state = 7 RETURNING 1")


@pytest.mark.req("S-10")
def test_a_chain_of_four_hundred_ends_with_its_cancelled_first_task() -> None:
    first = last = submit("debug:noop")
    for _ in range(400):
        last = submit("debug:noop", after=[last.task_id])
    actions.cancel(first.id, actor="test")
    while aftermath.advance():
        pass
    assert _states() == {(6, 9): 401}
    assert postgres.query("SELECT count(*) FROM task_wait") == [(0,)]


@pytest.mark.req("S-10")
def test_two_thousand_successors_are_released_in_bounded_steps() -> None:
    first = submit("debug:noop")
    submit_many([TaskRequest(type="debug:noop", after=[first.task_id]) for _ in range(2000)])
    hand = Hand()
    hand.settle(hand.claim(1), succeeded)
    assert row(first.id, "state") == 6
    while aftermath.advance():
        pass
    assert _states() == {(6, 4): 1, (1, 0): 2000}
    assert postgres.query("SELECT count(*) FROM task_aftermath") == [(0,)]


@pytest.mark.req("S-10")
def test_deleting_an_awaited_dead_letter_ends_its_successors() -> None:
    first = submit("debug:noop")
    last = submit("debug:noop", after=[first.task_id])
    hand = Hand()
    hand.settle(hand.claim(), dead)
    actions.delete(first.id, actor="test")
    assert row(last.id, "state", "status") == (6, 9)


@pytest.mark.req("S-10")
def test_a_shard_that_dies_twice_is_counted_once() -> None:
    parent = submit("debug:fanout", {"shards": 2})
    hand = Hand()
    one, two = hand.claim()
    hand.settle([one], dead)
    actions.run_now(_uuid(one.id), actor="test")
    again = [run for run in hand.claim() if run.id == one.id]
    hand.settle(again, dead)
    assert row(parent.id, "state") == 7
    hand.settle([two], succeeded)
    assert row(parent.id, "state", "status") == (6, 5)
    assert postgres.query("SELECT done, failed FROM shard_count") == [(1, 1)]


@pytest.mark.req("S-10")
def test_a_cancelled_parent_takes_its_shards_with_it() -> None:
    parent = submit("debug:fanout", {"shards": 5})
    hand = Hand()
    running = hand.claim(1)
    actions.cancel(parent.id, actor="test")
    assert row(running[0].id, "state", "cancel") == (2, 1)
    assert _states() == {(6, 9): 5, (2, 3): 1}


@pytest.mark.req("S-10")
def test_fanning_out_and_waiting_exclude_each_other() -> None:
    first = submit("debug:noop")
    with pytest.raises(Invalid):
        submit("debug:fanout", {"shards": 2}, after=[first.task_id])


@pytest.mark.req("Q-03")
def test_what_waits_for_others_cannot_be_archived_or_run_by_hand() -> None:
    first = submit("debug:noop")
    waiting = submit("debug:noop", after=[first.task_id])
    parent = submit("debug:fanout", {"shards": 1})
    for task in (waiting, parent):
        for action in (actions.archive, actions.run_now):
            with pytest.raises(IllegalTransition):
                action(task.id, actor="test")


@pytest.mark.req("S-10")
def test_members_wait_while_their_collected_task_is_a_dead_letter() -> None:
    credits.grant(user_id=7, amount=100, reason="test", actor="test")
    member = submit("debug:collect", {"n": 1}, group="mails", user_id=7, credits=30)
    _age_groups()
    groups.collect()
    hand = Hand()
    [collected] = hand.claim()
    hand.settle([collected], dead)
    assert row(member.id, "state") == 7
    actions.run_now(_uuid(collected.id), actor="test")
    hand.settle(hand.claim(), succeeded)
    assert row(member.id, "state", "status") == (6, 4)
    assert balance(7) == 70


@pytest.mark.req("S-10")
def test_a_group_that_cannot_be_collected_fails_and_holds_up_no_other() -> None:
    deep: dict[str, object] = {}
    for _ in range(30):
        deep = {"d": deep}
    bad = submit("debug:collect", deep, group="bad")
    good = submit("debug:collect", {"n": 1}, group="good")
    _age_groups()
    groups.collect()
    assert row(bad.id, "state", "status") in {(6, 5), (7, 0)}
    hand = Hand()
    hand.settle(hand.claim(), succeeded)
    assert row(good.id, "state", "status") == (6, 4)


@pytest.mark.req("S-02")
def test_a_deadline_of_a_waiting_task_ends_it_for_good() -> None:
    first = submit("debug:noop")
    last = submit("debug:noop", after=[first.task_id])
    postgres.query(
        "UPDATE task SET deadline = now() - interval '1 second' WHERE id = %s RETURNING 1",
        [last.id],
    )
    assert duties.sweep_deadlines() == 1
    assert row(last.id, "state", "status") == (6, 5)


@pytest.mark.req("X-04", "X-08")
def test_a_task_that_is_to_be_cancelled_is_not_handed_back_to_run_again() -> None:
    credits.grant(user_id=7, amount=100, reason="test", actor="test")
    made = submit("debug:noop", user_id=7, credits=30)
    hand = Hand()
    claimed = hand.claim()
    actions.cancel(made.id, actor="test")
    held = [(run.id, run.token) for run in claimed]
    assert runs.hand_back(hand.id, held, unstarted=False, epoch=tickets.epoch()) == []
    assert row(made.id, "state", "status") == (6, 9)
    assert entries(made.id) == [(2, -30), (3, 30)]


@pytest.mark.req("S-05", "Q-07")
def test_a_redriven_unique_task_takes_its_lock_again_or_is_refused() -> None:
    first = submit("debug:noop", unique_key="K")
    hand = Hand()
    hand.settle(hand.claim(), dead)
    second = submit("debug:noop", unique_key="K")
    with pytest.raises(DuplicateTask):
        actions.run_now(first.id, actor="test")
    hand.settle(hand.claim(), failed)
    assert row(second.id, "state") == 6
    actions.run_now(first.id, actor="test")
    with pytest.raises(DuplicateTask):
        submit("debug:noop", unique_key="K")


@pytest.mark.req("S-06", "S-04")
def test_a_repeated_key_in_a_batch_gets_what_became_of_the_item_it_repeats() -> None:
    submit("debug:noop", unique_key="U")
    request = TaskRequest(type="debug:noop", unique_key="U", idempotency_key="K")
    first, second = submit_many([request, request])
    assert isinstance(first, Refused)
    assert isinstance(second, Refused)
    plain = TaskRequest(type="debug:noop", idempotency_key="P")
    one, two = submit_many([plain, plain])
    assert not isinstance(one, Refused)
    assert not isinstance(two, Refused)
    assert (one.id, two.existing) == (two.id, True)


@pytest.mark.req("D-06")
def test_a_schedule_whose_submit_fails_holds_up_no_other() -> None:
    bad = {"user_id": 0, "credits": 5}
    schedules.create(name="bad", cron="@yearly", type="debug:noop", options=bad)
    schedules.create(name="good", cron="@yearly", type="debug:noop")
    postgres.query(
        "UPDATE schedule SET next_at = now() - (3 - id % 2) * interval '1 second' RETURNING 1"
    )
    assert schedules.tick() == 1
    assert postgres.query("SELECT outcome FROM schedule_tick WHERE task_id IS NULL") == [
        ("refused: insufficient_credits",)
    ]


@pytest.mark.req("S-06")
def test_callers_cannot_take_the_keys_of_schedules() -> None:
    made = schedules.create(name="tick", cron="@yearly", type="debug:noop")
    [(due,)] = postgres.query(
        "UPDATE schedule SET next_at = date_trunc('second', now()) - interval '1 second' RETURNING next_at"
    )
    submit("debug:echo", {"mine": 1}, idempotency_key=f"schedule:{made.pk}:{due.timestamp():.3f}")
    assert schedules.tick() == 1


@pytest.mark.req("P-02")
def test_an_unknown_epoch_is_not_raised_inside_a_callers_transaction() -> None:
    from django.db import transaction

    redis.client().flushall()
    tickets.forget()
    before = postgres.query("SELECT epoch FROM redis_shard")
    with transaction.atomic():
        made = submit("debug:noop")
        assert postgres.query("SELECT epoch FROM redis_shard") == before
    assert row(made.id, "state", "ticket") == (1, 0)
    tickets.renew()
    assert refilling.refill(thorough=True) == 1


@pytest.mark.req("X-03")
def test_a_deadline_that_has_passed_is_refused_at_submit() -> None:
    from datetime import UTC, datetime

    with pytest.raises(Invalid, match="deadline"):
        submit("debug:noop", deadline=datetime(2020, 1, 1, tzinfo=UTC))


def _uuid(text: str):  # type: ignore[no-untyped-def]
    from uuid import UUID

    return UUID(text)


@pytest.mark.req("S-10")
def test_a_pass_looks_at_a_bounded_part_of_what_waits_and_comes_to_all_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(groups, "_GROUPS_A_PASS", 2)
    for group in "abcde":
        submit("debug:collect", {}, group=group)
    many = [TaskRequest(type="debug:collect", payload={"n": n}, group="many") for n in range(30)]
    submit_many(many)
    _age_groups()
    rows = postgres.fetch("group_waiting", {"limit": 9, "most": 11, "after": groups._FIRST})
    assert sorted(row[2] for row in rows) == [1] * 5 + [11]
    assert [groups.collect() for _ in range(4)].count(0) <= 1
    assert postgres.query("SELECT count(*) FROM task WHERE state = 7 AND flags & 16 > 0") == [(0,)]
    made = postgres.query(
        "SELECT jsonb_array_length(payload -> 'members') FROM task_info WHERE type = 'debug:echo'"
    )
    assert sorted(row[0] for row in made) == [1] * 5 + [10] * 3


@pytest.mark.req("S-10")
def test_waiting_groups_are_read_by_their_index() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"
        )
        params: dict[str, int | str] = {"limit": 9, "most": 11, "after": str(groups._FIRST)}
        cursor.execute("EXPLAIN " + postgres.statement("group_waiting"), params)
        found = "\n".join(line for (line,) in cursor.fetchall())
    assert found.count("using task_grouped ") >= 4
    assert "Sort" not in found.replace("Sort Key: g.nr", "").replace("Sort  (", "", 1)
