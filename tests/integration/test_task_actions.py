"""What operators and callers do to a task - cancel, redrive, run, delete - and the books after each."""

import threading
from dataclasses import replace

import pytest
from django.db import connection
from pytest_django import Settings

from jobs.contract.reader import contract
from jobs.domain.errors import IllegalTransition, InsufficientCredits, TaskNotFound
from jobs.domain.ids import new_id
from jobs.domain.outcomes import Kind
from jobs.domain.states import State, Status
from jobs.operations import (
    actions,
    credits,
    endings,
    workers,
)
from jobs.operations.endings import Finish
from jobs.operations.tasks import submit
from jobs.store import postgres
from tests.support.engine import (
    Hand,
    balance,
    charged,
    dead,
    entries,
    retried,
    row,
    succeeded,
)

pytestmark = pytest.mark.usefixtures("engine")


CHARGE, REFUND = 2, 3


@pytest.mark.req("C-02")
def test_fifty_concurrent_cancels_make_one_refund() -> None:
    made = charged()
    won: list[bool] = []

    def cancel() -> None:
        try:
            won.append(actions.cancel(made.id, actor="test").refunded)
        except IllegalTransition:
            won.append(False)
        finally:
            connection.close()

    threads = [threading.Thread(target=cancel) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (won.count(True), len(won)) == (1, 50)
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]
    assert balance(7) == 100


@pytest.mark.req("Q-07", "C-02")
def test_a_dead_letter_is_refunded_and_a_redrive_charges_it_again() -> None:
    made = charged()
    hand = Hand()
    hand.settle(hand.claim(), dead)
    assert row(made.id, "state", "status", "queue_id = 6", "origin_id") == (5, 5, True, 3)
    assert balance(7) == 100
    actions.run_now(made.id, actor="test")
    assert row(made.id, "state", "status", "cycle", "queue_id") == (1, 0, 1, 3)
    assert balance(7) == 70
    hand.settle(hand.claim(), dead)
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30), (CHARGE, -30), (REFUND, 30)]
    assert credits.mismatches() == []


@pytest.mark.req("C-02")
def test_a_redrive_without_balance_leaves_the_dead_letter_untouched() -> None:
    made = charged()
    hand = Hand()
    hand.settle(hand.claim(), dead)
    credits.adjust(user_id=7, amount=-100, reason="spent", actor="test")
    with pytest.raises(InsufficientCredits):
        actions.run_now(made.id, actor="test")
    assert row(made.id, "state", "cycle") == (5, 0)


@pytest.mark.req("X-04", "AF09")
def test_a_cancel_of_a_running_task_is_requested_and_its_failure_becomes_a_cancellation() -> None:
    made = charged()
    hand = Hand()
    claimed = hand.claim()
    answer = actions.cancel(made.id, actor="test")
    assert (answer.requested, answer.refunded) == (True, False)
    assert workers.beat(hand.id, {}).cancel == [str(made.id)]  # type: ignore[union-attr]
    hand.settle(claimed, retried)
    assert row(made.id, "state", "status") == (6, 9)
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]


@pytest.mark.req("X-04")
def test_a_success_that_came_before_the_cancel_stands() -> None:
    made = charged()
    hand = Hand()
    claimed = hand.claim()
    actions.cancel(made.id, actor="test")
    hand.settle(claimed, succeeded)
    assert row(made.id, "state", "status") == (6, 4)
    assert entries(made.id) == [(CHARGE, -30)]


@pytest.mark.req("X-04")
def test_a_forced_cancel_ends_the_task_now_and_fences_its_run() -> None:
    made = charged()
    hand = Hand()
    claimed = hand.claim()
    assert actions.cancel(made.id, actor="test", force=True).refunded
    assert hand.settle(claimed, succeeded) == set()
    assert row(made.id, "state", "status") == (6, 9)


@pytest.mark.req("Q-03", "AC49")
def test_operator_actions_follow_the_table() -> None:
    made = submit("debug:noop")
    hand = Hand()
    claimed = hand.claim()
    for action in (actions.run_now, actions.archive, actions.delete):
        with pytest.raises(IllegalTransition):
            action(made.id, actor="test")
    hand.settle(claimed, retried)
    assert row(made.id, "state", "retried") == (4, 1)
    actions.archive(made.id, actor="test")
    assert row(made.id, "state", "status", "queue_id") == (5, 3, 3)
    actions.run_now(made.id, actor="test")
    assert row(made.id, "state") == State.PENDING
    actions.delete(made.id, actor="test")
    assert row(made.id, "state") is None
    with pytest.raises(TaskNotFound):
        actions.run_now(made.id, actor="test")


@pytest.mark.req("Q-03")
def test_deleting_a_charged_unfinished_task_refunds_it_and_keeps_a_tombstone() -> None:
    made = charged()
    actions.delete(made.id, actor="me")
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]
    assert postgres.query("SELECT kind, actor FROM event WHERE task_id = %s", [made.id]) == [
        ("delete", "me")
    ]


@pytest.mark.req("Q-03", "AC49")
def test_run_on_a_pending_task_moves_it_to_the_head() -> None:
    first, second = submit("debug:noop"), submit("debug:noop")
    actions.run_now(second.id, actor="test")
    assert [run.id for run in Hand().claim()][:1] == [str(second.id)] or row(
        second.id, "state"
    ) == 2
    assert row(first.id, "ord > 0")


@pytest.mark.req("Q-03")
def test_an_unknown_task_is_not_found() -> None:
    with pytest.raises(TaskNotFound):
        actions.cancel(new_id(), actor="test")


@pytest.mark.req("C-02", "C-03")
def test_a_redrive_charges_what_was_refunded_and_no_refund_exceeds_its_charge() -> None:
    """The platform billed 20 of 30: the redrive charges the 10 that came back, a second failure returns no more."""
    made = charged(30)
    hand = Hand()
    hand.settle(hand.claim(), lambda run: replace(dead(run), refund=10))
    assert balance(7) == 80
    actions.run_now(made.id, actor="test")
    assert (balance(7), row(made.id, "credits", "cycle")) == (70, (10, 1))
    hand.settle(hand.claim(), dead)
    assert balance(7) == 80
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 10), (CHARGE, -10), (REFUND, 10)]
    actions.run_now(made.id, actor="test")
    hand.settle(hand.claim(), lambda run: replace(dead(run), refund=0))
    assert balance(7) == 70
    actions.run_now(made.id, actor="test")
    assert (balance(7), row(made.id, "credits", "cycle")) == (70, (10, 2))
    assert credits.mismatches() == []


@pytest.mark.req("X-04")
def test_dead_letters_are_kept_as_long_as_the_setting_says_whatever_their_submit_asked(
    settings: Settings,
) -> None:
    assert settings.TASKCENTER["DEAD_RETENTION_S"] == contract().defaults.dead_retention_s
    settings.TASKCENTER = {**settings.TASKCENTER, "DEAD_RETENTION_S": 3600}
    settled, overdue = (
        submit("debug:noop", retention=60),
        submit("debug:noop", process_in=600, retention=60),
    )
    hand = Hand()
    hand.settle(hand.claim(), dead)
    endings.finish(
        [str(overdue.id)],
        Finish(
            state=State.ARCHIVED,
            status=Status.FAILURE,
            sources=(State.SCHEDULED,),
            kind=Kind.DEAD,
            reason="too late",
            error="too late",
            dead=True,
        ),
    )
    for made in (settled, overdue):
        kept = row(made.id, "extract(epoch FROM expires_at - clock_timestamp())")
        assert 3500 < kept <= 3600
