"""Claim and settle: whose run it is, what an end does to the books, and what ends a run that nobody settles."""

import pytest
from django.db import IntegrityError

from jobs.domain.states import State
from jobs.operations import (
    actions,
    credits,
    duties,
    queues,
    refilling,
    runs,
    tickets,
    workers,
)
from jobs.operations.tasks import submit
from jobs.selectors import task_history
from jobs.store import postgres, redis
from tests.support.engine import (
    Hand,
    balance,
    charged,
    dead,
    entries,
    failed,
    retried,
    row,
    succeeded,
)

pytestmark = pytest.mark.usefixtures("engine")


CHARGE, REFUND = 2, 3


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
    made = charged()
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
    made = charged()
    postgres.query(
        "UPDATE task SET deadline = now() - interval '1 second' WHERE id = %s RETURNING 1",
        [made.id],
    )
    assert duties.sweep_deadlines() == 1
    assert row(made.id, "state", "status") == (5, 5)
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]


@pytest.mark.req("X-09")
def test_a_task_that_loses_its_worker_again_and_again_goes_to_the_dead_letters_refunded() -> None:
    made = charged()
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
