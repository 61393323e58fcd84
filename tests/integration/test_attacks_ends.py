"""What was found by attacking the ends of runs: one that cannot be stored sinks no other, and the books stay right."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection

from jobs.domain.outcomes import Outcome
from jobs.operations import actions, credits, duties, giving_up, workers
from jobs.operations.runs import Run
from jobs.operations.tasks import submit
from jobs.selectors import queues
from jobs.store import postgres
from jobs.worker.records import Active
from jobs.worker.settler import Settler
from tests.support.engine import Hand, balance, dead, entries, failed, row, succeeded

pytestmark = pytest.mark.usefixtures("engine")


def settler(hand: Hand, claimed: list[Run], outcomes: list[Outcome]) -> Settler:
    """A settler that holds these outcomes."""
    it = Settler(lambda _items: None, acknowledge=False)
    records = [Active(run, "default", hand.id) for run in claimed]
    it.put(list(zip(records, outcomes, strict=True)))
    return it


def drain(it: Settler) -> None:
    while it.waiting():
        it.step(0.0)


@pytest.mark.req("P-03", "X-07")
def test_an_outcome_that_cannot_be_written_at_all_sinks_no_other() -> None:
    tasks = [submit("debug:noop") for _ in range(6)]
    hand = Hand()
    claimed = hand.claim()
    bad = claimed[2]
    broken: Any = (
        object()
    )  # facts that no code can read: neither a database's error nor a wrong value
    outcomes = [
        replace(succeeded(run), platform=broken) if run is bad else succeeded(run)
        for run in claimed
    ]
    drain(settler(hand, claimed, outcomes))
    assert row(bad.id, "state") == 5
    assert all(row(task.id, "state") == 6 for task in tasks if str(task.id) != bad.id)
    [(said,)] = postgres.query("SELECT error FROM task_run WHERE task_id = %s", [bad.id])
    assert said == "OutcomeRefused: this run's outcome could not be stored: AttributeError"


@pytest.fixture
def too_slow(engine: None) -> Iterator[None]:
    """The database gives up on every outcome that says `slow`, as it does after the statement timeout."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION test_too_slow() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'canceling statement' USING ERRCODE = '57014'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER test_too_slow BEFORE INSERT ON task_run FOR EACH ROW"
            " WHEN (NEW.error = 'slow') EXECUTE FUNCTION test_too_slow()"
        )
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION test_too_slow CASCADE")


@pytest.mark.usefixtures("too_slow")
@pytest.mark.req("P-03", "P-05")
def test_an_outcome_that_always_takes_too_long_is_dead_lettered_alone() -> None:
    slow, other = submit("debug:noop"), submit("debug:noop")
    hand = Hand()
    claimed = hand.claim()
    outcomes = [
        replace(dead(run), error="slow") if run.id == str(slow.id) else succeeded(run)
        for run in claimed
    ]
    it = settler(hand, claimed, outcomes)
    it.step(0.0)
    assert row(other.id, "state") == 6
    assert (row(slow.id, "state"), it.waiting()) == (2, 1)
    drain(it)
    assert row(slow.id, "state") == 5


def broken_callback(task_id: object) -> None:
    """No code can build this task's callback, so no end of it can be stored as a whole."""
    postgres.query(
        """UPDATE task_info SET options = options || '{"headers": {"a": 5}}' WHERE id = %s RETURNING 1""",
        [task_id],
    )


@pytest.mark.req("P-03", "X-07", "C-02")
def test_a_run_whose_end_can_never_be_stored_fails_with_what_could_be_done() -> None:
    credits.grant(user_id=7, amount=10, reason="r", actor="t")
    bad = submit(
        "debug:noop",
        callback_url="https://shop.example/",
        unique_for=60,
        user_id=7,
        credits=4,
    )
    other = submit("debug:noop", {"n": 1})
    broken_callback(bad.id)
    hand = Hand()
    claimed = hand.claim()
    drain(settler(hand, claimed, [succeeded(run) for run in claimed]))
    assert row(other.id, "state") == 6
    assert row(bad.id, "state", "status", "worker_id") == (5, 5, None)
    [(said,)] = postgres.query("SELECT error FROM task_run WHERE task_id = %s", [bad.id])
    assert said.startswith("OutcomeRefused: this run's outcome could not be stored")
    assert (balance(7), entries(bad.id)) == (10, [(2, -4), (3, 4)])
    assert not postgres.query("SELECT 1 FROM unique_lock")
    [(detail,)] = postgres.query("SELECT detail::text FROM event WHERE kind = 'given_up'")
    assert detail == '{"left_undone": ["callback"]}'
    duties.fold()
    assert queues.get("dead_letter").archived == 1  # type: ignore[union-attr]
    assert queues.get("default").active == 0  # type: ignore[union-attr]


@pytest.mark.req("P-03", "X-07")
def test_a_run_that_was_taken_over_is_not_given_up() -> None:
    made = submit("debug:noop")
    hand = Hand()
    [run] = hand.claim()
    assert giving_up.give_up(hand.id, run.id, run.token + 1, "x") is False
    assert giving_up.give_up(hand.id + 1, run.id, run.token, "x") is False
    assert row(made.id, "state") == 2
    actions.cancel(made.id, actor="test")
    assert giving_up.give_up(hand.id, run.id, run.token, "x") is True
    assert row(made.id, "state", "status") == (6, 9)


@pytest.mark.req("X-09")
def test_orphans_that_cannot_be_ended_do_not_hide_those_behind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "_ORPHAN_PAGE", 2)
    bad = [submit("debug:noop", callback_url="https://shop.example/") for _ in range(5)]
    good = submit("debug:noop")
    hand = Hand()
    assert len(hand.claim()) == 6
    for task in (*bad, good):
        actions.cancel(task.id, actor="test")
        broken_callback(task.id)
    workers.retire(hand.id)
    assert workers.rescue() == 1
    assert row(good.id, "state") == 6


@pytest.mark.req("X-09")
def test_an_orphan_that_cannot_be_ended_blocks_no_other() -> None:
    bad = submit("debug:noop", callback_url="https://shop.example/")
    good = submit("debug:noop")
    hand = Hand()
    assert len(hand.claim()) == 2
    for task in (bad, good):
        actions.cancel(task.id, actor="test")
    postgres.query(
        """UPDATE task_info SET options = options || '{"headers": {"a": 5}}' WHERE id = %s RETURNING 1""",
        [bad.id],
    )
    workers.retire(hand.id)
    assert workers.rescue() == 1
    assert (row(bad.id, "state"), row(good.id, "state")) == (2, 6)


@pytest.mark.req("C-02", "P-03")
@pytest.mark.parametrize("given_up", [False, True])
def test_a_run_whose_end_cannot_be_stored_gets_back_only_what_its_platform_did_not_bill(
    given_up: bool,
) -> None:
    credits.grant(user_id=7, amount=10, reason="r", actor="t")
    made = submit("debug:noop", callback_url="https://shop.example/", user_id=7, credits=4)
    if given_up:
        broken_callback(made.id)
    hand = Hand()
    claimed = hand.claim()
    broken: Any = object()
    drain(settler(hand, claimed, [replace(failed(claimed[0]), platform=broken, refund=1)]))
    assert row(made.id, "state", "status") == (5, 5)
    assert (balance(7), entries(made.id)) == (7, [(2, -4), (3, 1)])


@pytest.mark.req("C-02", "P-03")
def test_a_run_that_is_given_up_after_its_platform_billed_it_all_gets_nothing_back() -> None:
    credits.grant(user_id=7, amount=10, reason="r", actor="t")
    made = submit("debug:noop", callback_url="https://shop.example/", user_id=7, credits=4)
    broken_callback(made.id)
    hand = Hand()
    claimed = hand.claim()
    drain(settler(hand, claimed, [replace(failed(claimed[0]), refund=0)]))
    assert (balance(7), entries(made.id)) == (6, [(2, -4)])
