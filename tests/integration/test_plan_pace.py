"""Plans that are held: pauses, rates, canaries, and stops when too much fails again."""

import pytest

from jobs.models import AuditEntry, Event
from jobs.operations import plan_steps, plans
from jobs.store import catalog
from tests.integration.plan_support import (
    dead_letters,
    draft,
    execute,
    many,
    one_step,
    queue_name,
    run,
)
from tests.support.engine import Hand, dead, row, succeeded

pytestmark = pytest.mark.usefixtures("engine")


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
