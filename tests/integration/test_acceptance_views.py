"""Acceptance cases of looking at tasks and handling many of them that no other test covers."""

from typing import Any

import pytest
from django.db import IntegrityError

from jobs.domain.errors import IllegalTransition, Invalid, TaskNotFound, UnknownQueue
from jobs.domain.ids import new_id
from jobs.domain.states import state_from_wire
from jobs.domain.transitions import Event, legal
from jobs.operations import actions, duties, emptying, workers
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import Submitted, submit, submit_many
from jobs.selectors import daily, queues, task_pages, tasks
from jobs.selectors import workers as living
from jobs.store import postgres, redis
from tests.integration.admin_support import client_of, confirm_post
from tests.support import api
from tests.support.api import ApiClient, data, error
from tests.support.engine import Hand, dead, retried, row, succeeded

pytestmark = pytest.mark.usefixtures("engine")


def _one_per_state() -> dict[str, Submitted]:
    made = {"completed": submit("debug:echo"), "retry": submit("debug:noop")}
    hand = Hand()
    claimed = {run.id: run for run in hand.claim()}
    hand.settle([claimed[str(made["completed"].id)]], succeeded)
    hand.settle([claimed[str(made["retry"].id)]], retried)
    made["archived"] = submit("debug:noop")
    hand.settle(hand.claim(), dead)
    made["active"] = submit("debug:noop")
    hand.claim()
    made["pending"] = submit("debug:noop")
    made["scheduled"] = submit("debug:noop", process_in=60)
    made["aggregating"] = submit("debug:collect", group="g")
    return made


@pytest.mark.req("AC46", "A-01")
@pytest.mark.parametrize(("number", "found"), [(1, [0, 1, 2]), (2, [3, 4, 5]), (3, [6]), (4, [])])
def test_a_page_is_the_right_slice_the_last_is_partial_and_past_it_there_is_nothing(
    number: int, found: list[int]
) -> None:
    made = [submit("debug:noop") for _ in range(7)]
    page = task_pages.page("default", "pending", number=number, size=3)
    assert [item.task_id for item in page.items] == [made[n].task_id for n in found]
    with pytest.raises(UnknownQueue):
        task_pages.page("nowhere", "pending")


@pytest.mark.req("AC47", "A-01")
def test_a_task_in_each_state_tells_its_state_next_time_and_result() -> None:
    for state, made in _one_per_state().items():
        view = tasks.get(made.id)
        assert view.state == state
        assert (view.next_process_at is not None) is (state in ("scheduled", "retry")), state
        assert view.last_error == {"retry": "once more", "archived": "boom"}.get(state)
    with pytest.raises(TaskNotFound):
        tasks.get(new_id())


@pytest.mark.req("AC48", "X-09")
def test_a_silent_worker_is_listed_as_lost_until_its_tasks_are_taken_back() -> None:
    made = submit("debug:noop")
    hand = Hand("silent")
    hand.claim()
    postgres.query("UPDATE worker SET beat_at = now() - interval '10 seconds' RETURNING 1")
    [view] = living.listing().items
    assert (view.name, view.state) == ("silent", "lost")
    assert tasks.get(made.id).worker == "silent"


@pytest.mark.req("AC49", "Q-03")
def test_each_action_moves_a_task_from_the_states_that_allow_it_and_from_no_other() -> None:
    after = {"run_now": 1, "archive": 5, "delete": None}
    for name, event in (
        ("run_now", Event.RUN),
        ("archive", Event.ARCHIVE),
        ("delete", Event.DELETE),
    ):
        action: Any = getattr(actions, name)
        for state, made in _one_per_state().items():
            again = name == "run_now" and state == "archived"
            if again or legal(event, state_from_wire(state)):
                action(made.id, actor="test")
                assert row(made.id, "state") == after[name], (name, state)
            else:
                with pytest.raises(IllegalTransition):
                    action(made.id, actor="test")
        with pytest.raises(TaskNotFound):
            action(new_id(), actor="test")


@pytest.mark.req("AC50", "AF06", "S-05")
def test_the_locks_of_unique_tasks_are_free_when_all_of_a_queue_are_deleted() -> None:
    requests = [TaskRequest(type="debug:noop", payload=n, unique_for=600) for n in range(20)]
    submit_many(requests)
    emptying.empty("default", actor="test")
    assert postgres.query("SELECT count(*) FROM unique_lock") == [(0,)]
    assert all(isinstance(result, Submitted) for result in submit_many(requests))
    hand = Hand()
    hand.settle(hand.claim(), dead)
    emptying.empty("dead_letter", actor="test")
    assert all(isinstance(result, Submitted) for result in submit_many(requests))


@pytest.mark.req("AC51", "Q-08")
def test_emptying_says_how_many_went_and_leaves_other_queues_alone() -> None:
    for name in ("low", "high"):
        submit_many([TaskRequest(type="debug:noop", queue=name)] * 5)
    assert emptying.empty("low", actor="test").deleted == 5
    assert emptying.empty("low", actor="test").deleted == 0
    assert queues.total("high", "pending") == 5


@pytest.mark.req("AF07", "Q-07")
def test_ten_thousand_dead_letters_are_all_there_and_counted() -> None:
    hand = Hand()
    for _ in range(10):
        submit_many([TaskRequest(type="debug:noop")] * 1_005)
        while claimed := hand.claim(200):
            hand.settle(claimed, dead)
    while duties.fold():
        pass
    rows = int(postgres.query("SELECT count(*) FROM task WHERE state = 5")[0][0])
    assert queues.total("dead_letter", "archived") == rows == 10_050
    for table, column in (("task_info", "id"), ("task_run", "task_id")):
        assert postgres.query(f"SELECT count(DISTINCT {column}) FROM {table}") == [(rows,)]


@pytest.mark.req("AF08", "M-01")
def test_a_task_that_is_run_now_and_waits_two_seconds_shows_two_seconds() -> None:
    made = submit("debug:noop", process_in=600)
    actions.run_now(made.id, actor="test")
    postgres.query("UPDATE task SET ord = ord + 2000000 RETURNING 1")  # at the front it is negative
    found = queues.get("default")
    assert found is not None
    assert 1.9 < found.oldest_pending_s < 5


@pytest.mark.req("AC55", "M-01")
def test_a_history_has_a_line_for_each_day_newest_first_with_zeros() -> None:
    for make in (succeeded, dead):
        submit("debug:noop")
        hand = Hand()
        hand.settle(hand.claim(), make)
    duties.fold()
    postgres.query(
        "INSERT INTO queue_day (queue_id, day, processed, failed) VALUES"
        " (1, (now() AT TIME ZONE 'UTC')::date - 2, 7, 1), (3, (now() AT TIME ZONE 'UTC')::date - 100, 9, 9)"
        " RETURNING 1"
    )
    found = daily.history(4)
    assert [(d.processed, d.failed) for d in found] == [(2, 1), (0, 0), (7, 1), (0, 0)]
    assert [(found[0].day - d.day).days for d in found] == [0, 1, 2, 3]
    assert [d.processed for d in daily.history(3, "default")] == [2, 0, 0]
    duties.prune()
    assert postgres.query("SELECT count(*) FROM queue_day") == [(2,)]
    for wrong in (0, -1, 91):
        with pytest.raises(Invalid):
            daily.history(wrong)
    with pytest.raises(UnknownQueue):
        daily.history(1, "nowhere")


@pytest.mark.req("AC56", "X-09")
def test_a_dead_worker_is_listed_no_more_and_its_keys_are_gone() -> None:
    hand = Hand("gone")
    submit("debug:noop")
    hand.fetch()
    redis.wake(hand.id)
    postgres.query("UPDATE worker SET beat_at = now() - interval '10 seconds' RETURNING 1")
    workers.bury_silent(9)
    assert living.listing().items == []
    assert redis.client().keys(f"tc:*:{hand.id}") == []


@pytest.mark.req("AC52", "S-11", "A-01")
def test_the_payload_of_a_scheduled_task_is_changed_by_a_patch(caller: ApiClient) -> None:
    made = submit("debug:echo", {"n": 1}, process_in=60)
    changed = data(caller.patch(f"/tasks/{made.task_id}", {"payload": {"n": 2}}))
    assert (changed["payload"], changed["state"]) == ({"n": 2}, "scheduled")
    now = submit("debug:echo", {"n": 1})
    error(caller.patch(f"/tasks/{now.task_id}", {"payload": {"n": 2}}), 409)
    error(caller.patch("/tasks/task_unknown", {"payload": {"n": 2}}), 404)
    error(api.client("submit").patch(f"/tasks/{made.task_id}", {"payload": {}}), 403)


@pytest.mark.req("B-02", "A-02")
def test_a_workers_concurrency_is_asked_for_by_its_name(caller: ApiClient) -> None:
    hand = Hand("w1")
    data(caller.post("/workers/w1/concurrency", {"concurrency": 3}))
    beat = workers.beat(hand.id, {"concurrency": 10})
    assert beat is not None
    assert beat.concurrency is not None and beat.concurrency[0] == 3
    for wrong in (0, -1, 10**9):
        error(caller.post("/workers/w1/concurrency", {"concurrency": wrong}), 422)
    error(caller.post("/workers/w2/concurrency", {"concurrency": 3}), 404)


@pytest.mark.req("B-02", "V-11")
def test_a_workers_concurrency_is_changed_on_its_page() -> None:
    hand = Hand("w1")
    client = client_of("root")
    page = f"/admin/jobs/worker/{hand.id}/slots/"
    assert client.get(page).status_code == 200
    assert client.post(page, {"concurrency": "0"}).status_code == 422
    confirm_post(client, page, concurrency="4", reason="less load")
    beat = workers.beat(hand.id, {})
    assert beat is not None and beat.concurrency is not None and beat.concurrency[0] == 4
    assert postgres.query("SELECT action, reason FROM audit_entry ORDER BY id DESC LIMIT 1") == [
        ("worker.concurrency", "less load")
    ]


@pytest.mark.req("F11", "C-02")
@pytest.mark.parametrize(("kind", "sign"), [(2, -1), (3, 1)])
def test_the_database_itself_refuses_a_second_charge_or_refund_of_one_run_through(
    kind: int, sign: int
) -> None:
    enter = (
        "INSERT INTO credit_entry (account_id, kind, amount, task_id, cycle, reason, actor)"
        " VALUES (1, %s, %s, %s, 0, '', '') RETURNING 1"
    )
    task_id = new_id()
    postgres.query(enter, [kind, sign * 5, task_id])
    with pytest.raises(IntegrityError):
        postgres.query(enter, [kind, sign * 5, task_id])
