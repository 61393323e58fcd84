"""Plans: what a preview says, what each action does to its tasks, and what is refused."""

from typing import Any

import pytest
from pytest_django import Settings

from jobs.domain.errors import Conflict, Forbidden, Invalid
from jobs.models import Event, Plan
from jobs.operations import actions, credits, keys, plan_steps, plans
from jobs.operations.tasks import submit
from jobs.selectors import plans as reports
from tests.integration.plan_support import (
    DONE,
    FAILED,
    SKIPPED,
    dead_letters,
    draft,
    ends,
    execute,
    many,
    one_step,
    queue_name,
    run,
)
from tests.support.engine import Hand, balance, dead, entries, row, succeeded

pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.req("A-05")
def test_a_preview_says_the_effect_and_what_is_skipped_and_changes_nothing() -> None:
    credits.grant(user_id=1, amount=100, reason="x", actor="test")
    done = submit("debug:noop", queue="low")
    running = submit("debug:noop", queue="low")
    hand = Hand()
    claimed = hand.claim()
    hand.settle([r for r in claimed if r.id == str(done.id)], succeeded)
    charged = submit("debug:noop", queue="low", user_id=1, credits=30)
    many(2, queue="low", process_in=600, user_id=2)
    many(1, queue="high")
    plan = draft("delete", {"queue": "low", "states": ["pending", "active", "scheduled"]})
    view = reports.get(plan.pk)
    assert (view.state, view.preview.tasks, view.preview.users) == ("preview", 3, 2)
    assert view.preview.by_state == {"pending": 1, "scheduled": 2}
    assert view.preview.by_queue == {"low": 3}
    assert view.preview.refunded_credits == 30
    assert [(s.reason, s.tasks) for s in view.preview.skipped] == [("active", 1)]
    assert ends(plan)[running.id] == (SKIPPED, "active")
    assert row(charged.id, "state") == 1
    archive = reports.get(draft("archive", {"queue": "low"}).pk)
    assert {s.reason: s.tasks for s in archive.preview.skipped} == {"active": 1, "completed": 1}


@pytest.mark.req("A-05")
def test_a_task_added_after_the_preview_is_never_touched() -> None:
    old = many(3, queue="low")
    plan = draft("cancel", {"queue": "low"})
    new = many(2, queue="low")
    execute(plan)
    assert run(plan).state == "done"
    assert [row(t.id, "state") for t in old] == [6, 6, 6]
    assert [row(t.id, "state") for t in new] == [1, 1]
    assert (plan.done, plan.skipped, plan.failed) == (3, 0, 0)


@pytest.mark.req("A-05", "C-02")
def test_a_cancel_plan_refunds_each_task_once_and_asks_a_running_one_to_stop() -> None:
    credits.grant(user_id=1, amount=100, reason="x", actor="test")
    running = submit("debug:noop", user_id=1, credits=20)
    Hand().claim()
    waiting = [submit("debug:noop", user_id=1, credits=30) for _ in range(2)]
    plan = draft("cancel", {"user_id": 1}, reason="incident")
    assert (plan.tasks, plan.refund, plan.users) == (3, 80, 1)
    execute(plan)
    run(plan)
    assert ends(plan)[running.id] == (DONE, "cancel_requested")
    assert row(running.id, "state", "cancel") == (2, 1)
    assert plan.refunded == 60
    assert balance(1) == 80
    for task in waiting:
        assert entries(task.id) == [(2, -30), (3, 30)]
    event = Event.objects.get(task_id=waiting[0].id, kind="cancel")
    assert event.actor == f"user:op plan:{plan.pk}"


@pytest.mark.req("A-05")
def test_an_archive_and_a_delete_plan_do_what_their_buttons_do() -> None:
    tasks = many(3, queue="low")
    plan = draft("archive", {"queue": "low", "state": "pending"})
    execute(plan)
    run(plan)
    assert {row(t.id, "state") for t in tasks} == {5}
    gone = draft("delete", {"queue": "low", "state": "archived"})
    execute(gone)
    run(gone)
    assert {row(t.id, "state") for t in tasks} == {None}
    assert Event.objects.filter(kind="delete").count() == 3


@pytest.mark.req("A-05", "R-06")
def test_a_retry_plan_runs_what_waits_and_redrives_what_is_archived() -> None:
    [scheduled] = many(1, queue="low", process_in=600)
    [lost] = dead_letters(1, queue="low")
    plan = draft("retry", {"queue": "low"})
    assert plan.tasks == 2
    execute(plan)
    run(plan)
    assert row(scheduled.id, "state") == 1
    assert row(lost.id, "state") == 1
    assert queue_name(lost) == "low"


@pytest.mark.req("A-05")
def test_what_changed_after_the_preview_is_skipped_with_the_reason() -> None:
    gone, ended, same = many(3, queue="low", process_in=600)
    plan = draft("delete", {"queue": "low"})
    actions.delete(gone.id, actor="user:other")
    actions.cancel(ended.id, actor="user:other")
    execute(plan)
    run(plan)
    assert ends(plan) == {
        gone.id: (SKIPPED, "deleted"),
        ended.id: (SKIPPED, "changed"),
        same.id: (DONE, ""),
    }
    assert row(ended.id, "state") == 6
    [_, item, _] = reports.items(plan.pk).items
    assert item.error == "scheduled in the preview, now completed"


@pytest.mark.req("A-05", "C-01")
def test_a_redrive_that_its_account_cannot_pay_fails_alone() -> None:
    credits.grant(user_id=1, amount=30, reason="x", actor="test")
    credits.grant(user_id=2, amount=30, reason="x", actor="test")
    poor = submit("debug:noop", user_id=1, credits=30)
    rich = submit("debug:noop", user_id=2, credits=30)
    hand = Hand()
    hand.settle(hand.claim(), dead)
    submit("debug:noop", user_id=1, credits=30, process_in=600)
    plan = draft("redrive", {"queue": "default", "state": "archived"})
    assert (plan.charge, plan.refund) == (60, 0)
    execute(plan)
    run(plan)
    assert ends(plan) == {poor.id: (FAILED, "insufficient_credits"), rich.id: (DONE, "")}
    assert (plan.done, plan.failed) == (1, 1)
    assert (row(poor.id, "state"), row(rich.id, "state")) == (5, 1)


@pytest.mark.req("A-05")
@pytest.mark.parametrize(
    "wanted", [{}, {"states": []}, {"state": "nowhere"}, {"queue": "nothing"}, {"states": ["x"]}]
)
def test_an_empty_or_wrong_filter_is_refused(wanted: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        draft("cancel", wanted)


@pytest.mark.req("A-05")
def test_a_large_plan_needs_its_number_typed(settings: Settings) -> None:
    settings.TASKCENTER = {**settings.TASKCENTER, "PLAN_TYPED_TASKS": 2}
    many(3, queue="low")
    plan = draft("archive", {"queue": "low"})
    assert reports.get(plan.pk).preview.typed_count
    for count in (None, 2, 4):
        with pytest.raises(Invalid):
            plans.execute(plan.pk, actor="user:op", count=count)
    plans.execute(plan.pk, actor="user:op", count=3)
    with pytest.raises(Conflict):
        plans.execute(plan.pk, actor="user:op", count=3)


@pytest.mark.req("A-05")
def test_many_credits_need_the_number_typed_too(settings: Settings) -> None:
    settings.TASKCENTER = {**settings.TASKCENTER, "PLAN_TYPED_CREDITS": 50}
    credits.grant(user_id=1, amount=100, reason="x", actor="test")
    submit("debug:noop", user_id=1, credits=51)
    plan = draft("cancel", {"user_id": 1})
    with pytest.raises(Invalid):
        plans.execute(plan.pk, actor="user:op")
    plans.execute(plan.pk, actor="user:op", count=1)


@pytest.mark.req("A-05", "S19")
def test_a_plan_above_the_limit_is_executed_by_a_second_person(settings: Settings) -> None:
    settings.TASKCENTER = {**settings.TASKCENTER, "FOUR_EYES_CREDITS": 50}
    credits.grant(user_id=1, amount=200, reason="x", actor="test")
    for cost in (50, 51):
        submit("debug:noop", user_id=1, credits=cost, tags=[f"c{cost}"])
    small, large = draft("cancel", {"tag": "c50"}), draft("cancel", {"tag": "c51"})
    plans.execute(small.pk, actor=small.created_by)
    with pytest.raises(Forbidden):
        plans.execute(large.pk, actor=large.created_by)
    assert reports.get(large.pk).state == "preview"
    plans.execute(large.pk, actor="user:another")
    settings.TASKCENTER = {**settings.TASKCENTER, "FOUR_EYES_CREDITS": 0}
    submit("debug:noop", user_id=1, credits=60, tags=["c60"])
    alone = draft("cancel", {"tag": "c60"})
    plans.execute(alone.pk, actor=alone.created_by)


@pytest.mark.req("A-05", "S19", "T-02")
@pytest.mark.parametrize("maker", ["user:ann", "key:boss (b055)"])
def test_a_second_key_of_the_same_hand_is_no_second_person(settings: Settings, maker: str) -> None:
    settings.TASKCENTER = {**settings.TASKCENTER, "FOUR_EYES_CREDITS": 50}
    credits.grant(user_id=1, amount=200, reason="x", actor="test")
    submit("debug:noop", user_id=1, credits=51)
    first, second = (keys.create(name="k", scopes=["admin"], created_by=maker) for _ in "ab")
    names = [f"key:k (x) ({key.key_id})" for key in (first, second)]
    third = keys.create(name="k", scopes=["admin"], created_by=names[1])
    own = [maker, *names, f"key:k ({third.key_id})"]
    foreign = [keys.create(name="k", scopes=["admin"], created_by="cli:root") for _ in "ab"]
    plan = draft("cancel", {"user_id": 1})
    for planner in own:
        Plan.objects.filter(pk=plan.pk).update(created_by=planner)
        for actor in own:
            with pytest.raises(Forbidden):
                plans.execute(plan.pk, actor=actor)
    Plan.objects.filter(pk=plan.pk).update(created_by=f"key:k ({foreign[0].key_id})")
    plans.execute(plan.pk, actor=f"key:k ({foreign[1].key_id})")


@pytest.mark.req("A-05")
def test_nothing_changes_in_the_undo_window_and_an_abort_there_undoes_all() -> None:
    tasks = many(2, queue="low")
    plan = draft("cancel", {"queue": "low"})
    plans.execute(plan.pk, actor="user:op")
    left_s = one_step(plan)
    assert left_s is not None
    assert 25 < left_s <= 30
    assert row(plan.task_id, "state") == 3
    step = plan.task_id
    assert step is not None
    plans.abort(plan.pk, reason="no")
    plan.refresh_from_db()
    assert (plan.state, plan.done) == ("aborted", 0)
    assert plan_steps.step(plan.pk, step, stop=bool).again_s is None
    assert {row(t.id, "state") for t in tasks} == {1}
    with pytest.raises(Conflict):
        plans.abort(plan.pk)
