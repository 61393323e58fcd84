"""Claim and settle: fencing, refunds, retries, dead letters, redrive, cancel - the books after each."""

import threading
from dataclasses import replace

import pytest
from django.db import IntegrityError, connection
from pytest_django import Settings

from jobs.contract.reader import contract
from jobs.domain.errors import IllegalTransition, InsufficientCredits, TaskNotFound
from jobs.domain.ids import new_id
from jobs.domain.outcomes import Kind
from jobs.domain.states import State, Status
from jobs.operations import (
    actions,
    credits,
    duties,
    endings,
    queues,
    refilling,
    runs,
    tickets,
    workers,
)
from jobs.operations.endings import Finish
from jobs.operations.tasks import Submitted, submit
from jobs.selectors import task_history
from jobs.store import postgres, redis
from tests.support.engine import Hand, balance, dead, entries, failed, retried, row, succeeded

pytestmark = pytest.mark.usefixtures("engine")

CHARGE, REFUND = 2, 3


def _charged(amount: int = 30, user_id: int = 7) -> Submitted:
    credits.grant(user_id=user_id, amount=100, reason="test", actor="test")
    return submit("debug:noop", user_id=user_id, credits=amount)


@pytest.mark.req("X-07")
def test_a_task_whose_ticket_is_out_twenty_times_is_claimed_once() -> None:
    made = submit("debug:noop")
    for _ in range(20):
        redis.client().rpush("rq:queue:default", str(made.id))
    hands = [Hand(f"w{n}") for n in range(3)]
    claimed = [run for hand in hands for run in hand.claim(7)]
    assert [run.id for run in claimed] == [str(made.id)]


@pytest.mark.req("X-07")
def test_a_worker_whose_task_was_taken_over_cannot_settle_it() -> None:
    submit("debug:noop")
    zombie = Hand("zombie")
    claimed = zombie.claim()
    postgres.query("UPDATE worker SET dead_at = now() WHERE id = %s RETURNING 1", [zombie.id])
    assert workers.rescue() == 1
    heir = Hand("heir")
    again = heir.claim()
    assert again[0].token > claimed[0].token
    assert zombie.settle(claimed, failed) == set()
    assert heir.settle(again, succeeded) == {again[0].id}
    assert row(again[0].id, "state", "status", "crashes") == (6, 4, 1)


@pytest.mark.req("X-07")
def test_a_dead_worker_claims_nothing() -> None:
    submit("debug:noop")
    hand = Hand()
    ids = hand.fetch()
    postgres.query("UPDATE worker SET dead_at = now() WHERE id = %s RETURNING 1", [hand.id])
    assert runs.claim(hand.id, ids) == []
    assert workers.beat(hand.id, {}) is None


@pytest.mark.req("Q-08", "AC13")
def test_a_pause_is_exact_a_fetched_ticket_is_not_claimed_after_it() -> None:
    made = submit("debug:noop")
    hand = Hand()
    ids = hand.fetch()
    queues.pause("default", reason="test")
    assert runs.claim(hand.id, ids) == []
    assert runs.missing(ids).paused == [str(made.id)]
    queues.resume("default")
    assert len(runs.claim(hand.id, ids)) == 1


@pytest.mark.req("Q-05")
def test_an_ended_task_cannot_be_changed_even_by_sql() -> None:
    made = submit("debug:noop")
    hand = Hand()
    hand.settle(hand.claim(), succeeded)
    with pytest.raises(IntegrityError, match="does not change"):
        postgres.query("UPDATE task SET state = 1 WHERE id = %s RETURNING 1", [made.id])


@pytest.mark.req("Q-05")
def test_the_database_refuses_an_illegal_combination() -> None:
    made = submit("debug:noop")
    with pytest.raises(IntegrityError):
        postgres.query("UPDATE task SET status = 4 WHERE id = %s RETURNING 1", [made.id])


@pytest.mark.req("C-02")
def test_a_failed_charged_task_is_refunded_once_and_a_success_never() -> None:
    made = _charged()
    hand = Hand()
    claimed = hand.claim()
    hand.settle(claimed, failed)
    hand.settle(claimed, failed)
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]
    good = submit("debug:noop", user_id=7, credits=30)
    hand.settle(hand.claim(), succeeded)
    assert entries(good.id) == [(CHARGE, -30)]
    assert balance(7) == 70
    assert credits.mismatches() == []


@pytest.mark.req("C-02")
def test_fifty_concurrent_cancels_make_one_refund() -> None:
    made = _charged()
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
    made = _charged()
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
    made = _charged()
    hand = Hand()
    hand.settle(hand.claim(), dead)
    credits.adjust(user_id=7, amount=-100, reason="spent", actor="test")
    with pytest.raises(InsufficientCredits):
        actions.run_now(made.id, actor="test")
    assert row(made.id, "state", "cycle") == (5, 0)


@pytest.mark.req("X-04", "AF09")
def test_a_cancel_of_a_running_task_is_requested_and_its_failure_becomes_a_cancellation() -> None:
    made = _charged()
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
    made = _charged()
    hand = Hand()
    claimed = hand.claim()
    actions.cancel(made.id, actor="test")
    hand.settle(claimed, succeeded)
    assert row(made.id, "state", "status") == (6, 4)
    assert entries(made.id) == [(CHARGE, -30)]


@pytest.mark.req("X-04")
def test_a_forced_cancel_ends_the_task_now_and_fences_its_run() -> None:
    made = _charged()
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
    made = _charged()
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


@pytest.mark.req("X-08")
def test_tasks_handed_back_keep_their_order_at_the_head() -> None:
    made = [submit("debug:noop") for _ in range(5)]
    hand = Hand()
    claimed = hand.claim(3)
    back = runs.hand_back(
        hand.id, [(r.id, r.token) for r in claimed], unstarted=False, epoch=tickets.epoch()
    )
    assert [b[0] for b in back] == [str(m.id) for m in made[:3]]
    tickets.push(list(reversed(tickets.tickets_of(back))), front=True)
    assert [r.id for r in sorted(Hand("next").claim(), key=lambda r: r.id)] == sorted(
        str(m.id) for m in made
    )
    assert row(made[0].id, "retried") == 0


@pytest.mark.req("X-08")
def test_a_run_handed_back_leaves_a_trace_and_what_had_not_started_none() -> None:
    started, waiting = submit("debug:noop"), submit("debug:noop")
    hand = Hand("leaver")
    tokens = {r.id: r.token for r in hand.claim()}
    for made, unstarted in ((started, False), (waiting, True)):
        held = [(str(made.id), tokens[str(made.id)])]
        runs.hand_back(hand.id, held, unstarted=unstarted, epoch=tickets.epoch())
    told = [(e.kind, e.actor, e.detail) for e in task_history.events(started.id).items]
    assert told[1:] == [("handed_back", "system", {"worker": "leaver", "attempt": 1})]
    assert [e.kind for e in task_history.events(waiting.id).items] == ["submitted"]


@pytest.mark.req("X-11", "AC37")
def test_the_dispatcher_makes_due_tasks_pending_and_leaves_the_others() -> None:
    due = submit("debug:noop", process_in=3600)
    later = submit("debug:noop", process_in=3600)
    postgres.query(
        "UPDATE task SET run_at = now() - interval '1 second' WHERE id = %s RETURNING 1", [due.id]
    )
    assert duties.dispatch()[0] == 1
    assert row(due.id, "state") == State.PENDING
    assert row(later.id, "state") == State.SCHEDULED
    assert redis.listed("rq:queue:default") == [str(due.id)]


@pytest.mark.req("S-02", "C-02")
def test_a_deadline_that_passes_in_the_queue_ends_the_task_with_one_refund() -> None:
    made = _charged()
    postgres.query(
        "UPDATE task SET deadline = now() - interval '1 second' WHERE id = %s RETURNING 1",
        [made.id],
    )
    assert duties.sweep_deadlines() == 1
    assert row(made.id, "state", "status") == (5, 5)
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]


@pytest.mark.req("X-09")
def test_a_task_that_loses_its_worker_again_and_again_goes_to_the_dead_letters_refunded() -> None:
    made = _charged()
    for n in range(6):
        hand = Hand(f"w{n}")
        postgres.query("UPDATE task SET lane = 0 WHERE id = %s RETURNING 1", [made.id])
        ids = [str(made.id)]
        assert len(runs.claim(hand.id, ids)) == 1
        postgres.query("UPDATE worker SET dead_at = now() WHERE id = %s RETURNING 1", [hand.id])
        workers.rescue()
    assert row(made.id, "state", "status", "crashes") == (5, 5, 6)
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]


@pytest.mark.req("P-02", "P-07")
def test_after_a_flush_of_redis_every_pending_task_gets_a_new_ticket() -> None:
    made = [submit("debug:noop") for _ in range(50)]
    redis.client().flushall()
    late = submit("debug:noop")  # its push meets the loss
    tickets.renew()
    assert refilling.refill(thorough=True) == 51
    claimed = {run.id for run in Hand().claim()}
    assert claimed == {str(m.id) for m in [*made, late]}


@pytest.mark.req("P-03", "P-07")
def test_a_ticket_lost_between_commit_and_push_is_found_in_two_looks() -> None:
    made = submit("debug:noop")
    redis.client().delete("rq:queue:default")
    suspects = refilling.look(set())
    assert suspects == {str(made.id)}
    assert refilling.look(suspects) == set()
    assert redis.listed("rq:queue:default") == [str(made.id)]


@pytest.mark.req("Q-05")
def test_counters_equal_a_recount_after_a_mixed_history() -> None:
    for n in range(12):
        submit("debug:noop", {"n": n}, queue=("critical", "default")[n % 2])
    hand = Hand()
    claimed = hand.claim(9)
    hand.settle(claimed[:3], succeeded)
    hand.settle(claimed[3:5], retried)
    hand.settle(claimed[5:6], dead)
    actions.cancel(claimed[6].id, actor="test", force=True)  # type: ignore[arg-type]
    while duties.fold():
        pass
    counted = postgres.query(
        "SELECT queue_id, metric, n FROM queue_stat WHERE metric <= 7 AND n <> 0 ORDER BY 1, 2"
    )
    recount = postgres.query(
        "SELECT queue_id, state, count(*) FROM task GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert counted == recount


@pytest.mark.req("Q-03")
def test_an_unknown_task_is_not_found() -> None:
    with pytest.raises(TaskNotFound):
        actions.cancel(new_id(), actor="test")


@pytest.mark.req("C-02", "C-03")
def test_a_redrive_charges_what_was_refunded_and_no_refund_exceeds_its_charge() -> None:
    """The platform billed 20 of 30: the redrive charges the 10 that came back, a second failure returns no more."""
    made = _charged(30)
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
