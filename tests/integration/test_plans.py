"""Plans: what is frozen is what is changed, each task once; and what stops a plan."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from jobs.domain.errors import Conflict, Forbidden, Invalid, NotFound
from jobs.models import AuditEntry, Event, Plan
from jobs.operations import actions, credits, keys, plan_freezing, plan_steps, plans, queues
from jobs.operations.tasks import submit
from jobs.selectors import plans as reports
from jobs.store import catalog, postgres
from tests.integration.plan_support import (
    DONE,
    FAILED,
    SKIPPED,
    WAITING,
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


def dead_letters(n: int, **options: Any) -> list[Any]:
    made = many(n, **options)
    hand = Hand()
    hand.settle(hand.claim(), dead)
    return made


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


@pytest.mark.req("A-05")
def test_a_pause_holds_before_the_next_task_and_a_resume_goes_on_once() -> None:
    tasks = many(4, queue="low")
    plan = draft("archive", {"queue": "low"})
    execute(plan)
    plan.refresh_from_db()
    first = plan.task_id
    assert first is not None
    plan_steps.step(plan.pk, first, stop=bool, limit=1)
    plans.pause(plan.pk, reason="look")
    assert plan_steps.step(plan.pk, first, stop=bool).again_s is None
    assert sorted(row(t.id, "state") for t in tasks) == [1, 1, 1, 5]
    plans.resume(plan.pk)
    assert plan_steps.step(plan.pk, first, stop=bool).again_s is None  # the old step stands back
    assert sorted(row(t.id, "state") for t in tasks) == [1, 1, 1, 5]
    assert run(plan).state == "done"
    assert Event.objects.filter(kind="archive").count() == 4


@pytest.mark.req("A-05", "Q-07", "R-06")
def test_a_slow_redrive_keeps_its_rate_and_runs_from_the_dead_letters() -> None:
    lost = dead_letters(3, queue="high")
    plan = draft("redrive", {"queue": "high", "state": "archived"}, rate=30)
    execute(plan)
    wait_s = one_step(plan)
    assert plan.done == 1
    assert wait_s is not None
    assert 1.5 < wait_s <= 2.0
    assert one_step(plan) is not None
    assert plan.done == 1
    [first] = [t for t in lost if row(t.id, "state") == 1]
    assert queue_name(first) == "dead_letter"
    hand = Hand()
    hand.settle(hand.claim(), dead)
    assert queue_name(first) == "dead_letter"
    origin = row(first.id, "origin_id")
    assert catalog.queues().name(origin) == "high"


@pytest.mark.req("R-06")
def test_the_canary_goes_first_and_the_rest_waits_for_its_outcome() -> None:
    lost = dead_letters(5, queue="high")
    plan = draft("redrive", {"state": "archived"}, canary=2)
    execute(plan)
    one_step(plan)
    assert one_step(plan) is not None
    assert plan.done == 2
    hand = Hand()
    runs = [r for r in hand.claim() if r.type == "debug:noop"]
    hand.settle(runs[:1], succeeded)
    one_step(plan)
    assert plan.done == 2
    hand.settle(runs[1:], succeeded)
    run(plan)
    assert (plan.state, plan.done) == ("done", 5)
    assert {queue_name(t) for t in lost} == {"high"}


@pytest.mark.req("R-06")
def test_a_canary_that_fails_again_stops_the_plan_and_a_person_decides() -> None:
    dead_letters(5, queue="high")
    plan = draft("redrive", {"state": "archived"}, canary=2)
    execute(plan)
    one_step(plan)
    hand = Hand()
    hand.settle([r for r in hand.claim() if r.type == "debug:noop"], dead)
    assert one_step(plan) is None
    assert (plan.state, plan.state_reason, plan.done) == ("paused", "2 of 2 failed again", 2)
    assert AuditEntry.objects.get(action="plan.stop").target == f"plan:{plan.pk}"
    plans.resume(plan.pk)
    run(plan)
    assert (plan.state, plan.done) == ("done", 5)


@pytest.mark.req("R-06")
@pytest.mark.parametrize(("stop_percent", "state"), [(60, "running"), (50, "paused")])
def test_a_slow_plan_stops_when_too_many_of_the_last_fail_again(
    stop_percent: int, state: str
) -> None:
    dead_letters(15, queue="high")
    plan = draft("redrive", {"state": "archived"}, rate=100_000, stop_percent=stop_percent)
    execute(plan)
    plan.refresh_from_db()
    assert plan.task_id is not None
    plan_steps.step(plan.pk, plan.task_id, stop=bool, limit=12)
    hand = Hand()
    runs = [r for r in hand.claim() if r.type == "debug:noop"]
    hand.settle(runs[:5], succeeded)
    hand.settle(runs[5:], dead)
    one_step(plan)
    assert plan.state == state
    assert plan.done == (15 if state == "running" else 12)
    assert plan.state_reason == ("" if state == "running" else "7 of 12 failed again")


@pytest.mark.req("A-05")
def test_two_steps_at_once_do_each_task_once() -> None:
    tasks = many(40, queue="low")
    plan = draft("archive", {"queue": "low"})
    execute(plan)
    plan.refresh_from_db()
    step = plan.task_id
    assert step is not None

    def work() -> None:
        while plan_steps.step(plan.pk, step, stop=bool, limit=7).again_s is not None:
            pass
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    plan.refresh_from_db()
    assert (plan.state, plan.done) == ("done", 40)
    assert Event.objects.filter(kind="archive").count() == 40
    assert {row(t.id, "state") for t in tasks} == {5}


@pytest.mark.req("A-05")
def test_a_task_that_somebody_holds_comes_later_and_fails_alone_at_last() -> None:
    held, free = many(2, queue="low")
    plan = draft("archive", {"queue": "low"})
    execute(plan)
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            postgres.query("SELECT 1 FROM task WHERE id = %s FOR UPDATE", [held.id])
            begun.set()
            over.wait(30)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    begun.wait(10)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    try:
        run(plan)
    finally:
        over.set()
        holder.join(10)
        with connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")
    assert ends(plan) == {held.id: (FAILED, "locked"), free.id: (DONE, "")}


@pytest.mark.req("A-05")
def test_a_plan_gets_a_new_step_when_its_own_is_gone() -> None:
    many(2, queue="low")
    plan = draft("archive", {"queue": "low"})
    execute(plan)
    plan.refresh_from_db()
    first = plan.task_id
    plans.tend()
    plan.refresh_from_db()
    assert plan.task_id == first
    assert first is not None
    actions.delete(first, actor="user:op")
    plans.tend()
    plan.refresh_from_db()
    assert plan.task_id != first
    assert run(plan).state == "done"


@pytest.mark.req("A-05", "Q-08")
def test_emptying_a_paused_queue_does_not_wait_for_that_queue() -> None:
    queues.pause("critical", reason="test")
    many(2, queue="critical")
    plan = draft("delete", {"queue": "critical", "states": ["pending", "scheduled", "retry"]})
    plans.execute(plan.pk, actor="user:op")
    plan.refresh_from_db()
    assert catalog.queues().name(row(plan.task_id, "queue_id")) == "high"
    queues.pause("high", reason="test")
    postgres.query(
        "UPDATE task SET state = 1, run_at = NULL WHERE id = %s RETURNING 1", [plan.task_id]
    )
    plans.tend()
    plan.refresh_from_db()
    assert catalog.queues().name(row(plan.task_id, "queue_id")) == "default"


@pytest.mark.req("A-05")
def test_the_steps_of_plans_are_no_part_of_a_plan() -> None:
    many(1, queue="critical", process_in=600)
    first = draft("cancel", {"queue": "critical"})
    plans.execute(first.pk, actor="user:op")
    first.refresh_from_db()
    second = draft("delete", {"queue": "critical"})
    assert second.tasks == 1
    assert ends(second)[first.task_id] == (SKIPPED, "plan")  # type: ignore[index]


@pytest.mark.req("A-05", "T-01")
def test_a_plan_of_another_tenant_is_not_there() -> None:
    many(1, queue="low")
    plan = draft("cancel", {"queue": "low"})
    with pytest.raises(NotFound):
        reports.get(plan.pk, tenant_id=2)
    with pytest.raises(NotFound):
        plans.execute(plan.pk, actor="key:x", tenant_id=2)


@pytest.mark.req("A-05")
def test_a_set_too_large_for_one_answer_is_frozen_in_the_background(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many(7, queue="low")
    monkeypatch.setattr(plan_freezing, "CHUNK", 2)
    monkeypatch.setattr(plans, "PREVIEW_BUDGET_S", -1.0)
    plan = draft("archive", {"queue": "low"})
    assert plan.state == "freezing"
    with pytest.raises(Conflict):
        plans.execute(plan.pk, actor="user:op")
    many(1, queue="low")
    run(plan)
    assert (plan.state, plan.tasks) == ("preview", 7)
    assert [state for state, _ in ends(plan).values()] == [WAITING] * 7


@pytest.mark.req("A-05")
def test_the_report_pages_through_all_items_and_can_be_filtered() -> None:
    tasks = many(5, queue="low", process_in=600)
    actions.run_now(tasks[0].id, actor="test")
    Hand().claim()
    plan = draft("archive", {"queue": "low"})
    seen, cursor = [], None
    while True:
        page = reports.items(plan.pk, after=cursor, limit=2)
        seen += [item.task_id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == sorted(t.task_id for t in tasks)
    [skipped] = reports.items(plan.pk, state="skipped").items
    assert (skipped.task_id, skipped.reason) == (tasks[0].task_id, "active")
    assert len(list(reports.every_item(plan.pk))) == 5


@pytest.mark.req("A-05")
def test_old_plans_are_removed_with_their_items() -> None:
    many(1, queue="low")
    plan, kept = draft("archive", {"queue": "low"}), draft("archive", {"queue": "low"})
    postgres.query(
        "UPDATE plan SET created_at = now() - interval '8 days' WHERE id = %s RETURNING 1",
        [plan.pk],
    )
    plans.tend()
    plans.tend()
    assert postgres.query("SELECT id FROM plan") == [(kept.pk,)]
    assert postgres.query("SELECT DISTINCT plan_id FROM plan_item") == [(kept.pk,)]


@pytest.mark.req("C-02", "A-05")
def test_a_redrives_preview_says_what_it_will_charge_which_is_what_was_refunded() -> None:
    credits.grant(user_id=7, amount=200, reason="test", actor="test")
    backs = (10, None, 0)
    made = [submit("debug:noop", user_id=7, credits=30) for _ in backs]
    refunds = dict(zip((str(m.id) for m in made), backs, strict=True))
    hand = Hand()
    hand.settle(hand.claim(), lambda run_: replace(dead(run_), refund=refunds[run_.id]))
    assert balance(7) == 150
    plan = draft("redrive", {"queue": "default", "state": "archived"})
    assert (plan.tasks, plan.charge) == (3, 40)
    execute(plan)
    run(plan)
    assert {end for end, _ in ends(plan).values()} == {DONE}
    assert balance(7) == 110
    assert credits.mismatches() == []
