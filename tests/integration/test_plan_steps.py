"""The steps of plans: two at once, tasks that are held, lost steps, paused queues; reports and their end."""

import threading
from dataclasses import replace

import pytest
from django.db import connection, transaction

from jobs.domain.errors import Conflict, NotFound
from jobs.models import Event
from jobs.operations import actions, credits, plan_freezing, plan_steps, plans, queues
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
    run,
)
from tests.support.engine import Hand, balance, dead, row

pytestmark = pytest.mark.usefixtures("engine")


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
