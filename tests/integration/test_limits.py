"""Limits per key: who may run, who stands in line, and how a place comes free."""

from typing import Any

import pytest
from django.db import transaction

from jobs.domain.errors import IllegalTransition, Invalid
from jobs.domain.states import State
from jobs.operations import actions, duties, emptying, limits, runs, tickets, workers
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import Submitted, submit, submit_many
from jobs.store import postgres
from tests.support.engine import Hand, dead, retried, row, succeeded

pytestmark = pytest.mark.usefixtures("engine")


def _limited(count: int, key: str = "k", **options: Any) -> list[Submitted]:
    wanted = {"limit": 3, **options}
    return [submit("debug:noop", limit_key=key, **wanted) for _ in range(count)]


def _states(tasks: list[Submitted]) -> list[int]:
    return [row(task.id, "state") for task in tasks]


def _books_are_right() -> None:
    """The counters say what the rows say."""
    duties.fold()
    said = postgres.query("SELECT metric, sum(n)::int FROM queue_stat WHERE metric < 8 GROUP BY 1")
    rows = postgres.query("SELECT state, count(*)::int FROM task GROUP BY 1")
    assert {k: n for k, n in said if n} == dict(rows)


@pytest.mark.req("S-12", "AC59")
def test_at_most_n_tasks_of_a_key_are_let_go_and_the_rest_wait_without_a_ticket() -> None:
    tasks = _limited(8)
    assert _states(tasks) == [1] * 3 + [7] * 5
    assert {row(task.id, "ticket") for task in tasks[3:]} == {0}
    hand = Hand()
    claimed = hand.claim()
    assert [run.id for run in claimed] == [str(task.id) for task in tasks[:3]]
    hand.settle(claimed[:2], succeeded)
    assert _states(tasks) == [6, 6, 2, 1, 1, 7, 7, 7]
    _books_are_right()


@pytest.mark.req("S-12")
def test_keys_and_tenants_do_not_wait_for_each_other() -> None:
    from jobs.operations import tenants

    other = tenants.create("acme", "Acme")
    _limited(5, "a")
    assert _states(_limited(1, "b")) == [1]
    assert row(submit("debug:noop").id, "state") == 1
    theirs = submit("debug:noop", limit_key="a", limit=3, tenant_id=other.pk)
    assert row(theirs.id, "state") == 1


@pytest.mark.req("S-12")
@pytest.mark.parametrize("how", [dead, retried])
def test_a_failed_or_retried_task_gives_its_place_to_the_next(how: Any) -> None:
    tasks = _limited(5)
    hand = Hand()
    [first, *_] = hand.claim()
    hand.settle([first], how)
    assert _states(tasks)[1:] == [2, 2, 1, 7]


@pytest.mark.req("S-12")
def test_what_is_due_again_stands_in_line_by_its_due_time() -> None:
    tasks = _limited(5, limit=1)
    hand = Hand()
    hand.settle(hand.claim(), retried)
    postgres.query("UPDATE task SET run_at = now() - interval '1 hour' WHERE state = 4 RETURNING 1")
    later = submit("debug:noop", limit_key="k", limit=1, process_in=60)
    postgres.query("UPDATE task SET run_at = now() - interval '1 s' WHERE state = 3 RETURNING 1")
    duties.dispatch()
    assert _states([*tasks, later]) == [7, 1, 7, 7, 7, 7]
    hand.settle(hand.claim(), succeeded)
    assert _states([*tasks, later]) == [1, 6, 7, 7, 7, 7]
    _books_are_right()


@pytest.mark.req("S-12", "AC59")
def test_a_dead_workers_places_pass_on_with_its_tasks_and_its_late_word_frees_none() -> None:
    tasks = _limited(6)
    lost = Hand("lost")
    claimed = lost.claim()
    workers.retire(lost.id)
    workers.rescue()
    assert _states(tasks) == [1] * 3 + [7] * 3
    hand = Hand()
    again = hand.claim()
    assert {run.id for run in again} == {run.id for run in claimed}
    assert lost.settle(claimed, succeeded) == set()
    assert _states(tasks) == [2] * 3 + [7] * 3
    hand.settle(again, succeeded)
    assert _states(tasks) == [6] * 3 + [1] * 3


@pytest.mark.req("S-12")
def test_what_is_handed_back_keeps_its_place() -> None:
    tasks = _limited(4)
    hand = Hand()
    held = [(run.id, run.token) for run in hand.claim()]
    assert len(runs.hand_back(hand.id, held, unstarted=True, epoch=tickets.epoch())) == 3
    limits.tend()
    assert _states(tasks) == [1, 1, 1, 7]


@pytest.mark.req("S-12", "Q-03")
def test_operators_free_places_and_what_they_run_takes_its_turn() -> None:
    tasks = _limited(7)
    actions.archive(tasks[0].id, actor="test")
    actions.cancel(tasks[1].id, actor="test")
    actions.delete(tasks[2].id, actor="test")
    assert _states(tasks[3:]) == [1, 1, 1, 7]
    actions.run_now(tasks[0].id, actor="test")
    assert row(tasks[0].id, "state") == 7
    with pytest.raises(IllegalTransition):
        actions.run_now(tasks[6].id, actor="test")
    later = submit("debug:noop", limit_key="k", limit=3, process_in=60)
    actions.run_now(later.id, actor="test")
    actions.delete(tasks[6].id, actor="test")
    hand = Hand()
    [one, *_] = hand.claim()
    hand.settle([one], succeeded)
    assert (row(later.id, "state"), row(tasks[0].id, "state")) == (1, 7)
    _books_are_right()


@pytest.mark.req("S-12", "Q-03")
def test_an_emptied_queue_loses_its_lines_too() -> None:
    _limited(20)
    submit("debug:noop", after=[_limited(1, "other", process_in=60)[0].task_id])
    done = emptying.empty("default", actor="test")
    assert (done.deleted, done.remaining) == (21, False)
    assert postgres.query("SELECT count(*) FROM task WHERE limit_id IS NOT NULL") == [(0,)]


@pytest.mark.req("S-12")
def test_the_limit_last_given_for_a_key_holds_and_a_new_key_alone_is_one_at_a_time() -> None:
    tasks = [submit("debug:noop", limit_key="k") for _ in range(4)]
    assert _states(tasks) == [1, 7, 7, 7]
    tasks += _limited(1, limit=4)
    assert _states(tasks) == [1, 1, 1, 1, 7]
    tasks += _limited(1, limit=2)
    tasks.append(submit("debug:noop", limit_key="k"))
    hand = Hand()
    hand.settle(hand.claim(2), succeeded)
    assert _states(tasks) == [6, 6, 1, 1, 7, 7, 7]


@pytest.mark.req("S-12", "S-10")
def test_a_chained_task_takes_its_turn_after_what_it_waits_for() -> None:
    first = submit("debug:noop", queue="high")
    chained = submit("debug:noop", after=[first.task_id], limit_key="k", limit=1)
    tasks = [*_limited(2, limit=1), chained]
    assert _states(tasks) == [1, 7, 7]
    hand = Hand()
    one, two = hand.claim()
    by_id = {one.id: one, two.id: two}
    hand.settle([by_id[str(tasks[0].id)]], succeeded)
    assert _states(tasks) == [6, 1, 7]
    hand.settle([by_id[str(first.id)]], succeeded)
    hand.settle(hand.claim(), succeeded)
    assert _states(tasks) == [6, 6, 1]


@pytest.mark.req("S-12", "S-10")
def test_a_parents_limit_is_that_of_its_shards_and_members_of_groups_have_none() -> None:
    parent = submit("debug:fanout", {"shards": 5}, limit_key="k", limit=2)
    assert row(parent.id, "limit_id") is None
    rows = postgres.query("SELECT state, count(*) FROM task WHERE parent_id IS NOT NULL GROUP BY 1")
    assert dict(rows) == {1: 2, 7: 3}
    actions.cancel(parent.id, actor="test")
    assert postgres.query("SELECT DISTINCT state FROM task") == [(6,)]
    with pytest.raises(Invalid, match="group"):
        submit("debug:collect", {"n": 1}, group="g", limit_key="k", limit=1)


@pytest.mark.req("S-12")
def test_in_a_callers_transaction_the_line_forms_at_its_commit() -> None:
    with transaction.atomic():
        tasks = _limited(4)
        assert _states(tasks) == [7] * 4
    assert _states(tasks) == [1, 1, 1, 7]


@pytest.mark.req("S-12")
def test_what_a_crash_left_in_line_is_let_go_by_the_duty() -> None:
    tasks = _limited(5)
    postgres.query(
        "UPDATE task SET state = 6, status = 4, finished_at = now() WHERE state = 1 RETURNING 1"
    )
    assert limits.tend() == (0, 1.0)
    assert _states(tasks) == [6, 6, 6, 1, 1]


@pytest.mark.req("S-12", "S-04")
def test_a_batch_of_a_thousand_with_a_hundred_keys_takes_a_bounded_number_of_round_trips(
    django_assert_max_num_queries: Any,
) -> None:
    wanted = [TaskRequest(type="debug:noop", limit_key=f"k{n % 100}", limit=3) for n in range(1000)]
    tickets.warm()
    with django_assert_max_num_queries(40):
        submit_many(wanted)
    rows = postgres.query("SELECT state, count(*) FROM task GROUP BY 1")
    assert dict(rows) == {1: 300, 7: 700}


@pytest.mark.req("S-12")
def test_tasks_without_a_key_cost_no_statement_more(django_assert_num_queries: Any) -> None:
    tickets.warm()
    submit("debug:noop")
    with django_assert_num_queries(1):
        submit("debug:noop")
    hand = Hand()
    claimed = hand.claim()
    with django_assert_num_queries(3):  # BEGIN, one statement, COMMIT
        runs.settle(hand.id, [succeeded(run) for run in claimed])


@pytest.mark.req("S-12", "AC59")
@pytest.mark.parametrize(
    "options",
    [
        {"limit": 3},
        {"limit_key": "", "limit": 3},
        {"limit_key": "x" * 201, "limit": 3},
        {"limit_key": "k", "limit": 0},
        {"limit_key": "k", "limit": 10_001},
        {"limit_key": "k", "limit": {"rate": "0/s"}},
        {"limit_key": "k", "limit": {"rate": "5 per minute"}},
        {"limit_key": "k", "limit": {"rate": "1000001/h"}},
        {"limit_key": "k", "limit": {}},
        {"limit_key": "k", "limit": {"per": 3}},
        {"limit_key": "k", "limit": "3"},
        {"limit_key": "k", "limit": True},
        {"limit_key": "a\x00b", "limit": 1},
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        submit("debug:noop", **options)
    assert postgres.query("SELECT count(*) FROM task") == [(0,)]
    assert postgres.query("SELECT count(*) FROM task_limit") == [(0,)]


@pytest.mark.req("S-12")
def test_a_key_that_was_forgotten_holds_nobody_up() -> None:
    later = submit("debug:noop", limit_key="k", limit=1, process_in=60)
    postgres.query("UPDATE task_limit SET used_at = now() - interval '31 days' RETURNING 1")
    assert limits.prune(500) == 1
    actions.run_now(later.id, actor="test")
    assert row(later.id, "state") == State.PENDING


@pytest.mark.req("S-12")
def test_a_key_in_use_is_not_forgotten() -> None:
    _limited(2, limit=1)
    postgres.query("UPDATE task_limit SET used_at = now() - interval '31 days' RETURNING 1")
    assert limits.prune(500) == 0
