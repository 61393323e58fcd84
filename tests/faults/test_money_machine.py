"""Hypothesis plays with charged tasks, and after every step the books are read by SQL (F36)."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobs.domain.errors import Conflict, InsufficientCredits, TaskCenterError
from jobs.domain.outcomes import Kind, Outcome, PlatformFacts
from jobs.domain.states import State, Status
from jobs.operations import actions, aftermath, credits, duties, runs, tickets, workers
from jobs.operations.runs import Run
from jobs.operations.tasks import submit
from jobs.store import postgres
from tests.support import engine
from tests.support.books import Books
from tests.support.engine import Hand, pending
from tests.support.load import LONG, sized
from tests.support.platforms import register

pytestmark = pytest.mark.faults

USER = 901
_TABLES = (
    "task, task_info, task_run, platform_task, credit_entry, account, event, stat_delta, queue_stat,"
    " unique_lock, task_aftermath, worker"
)
PICK = st.integers(0, 1_000)


class KeptBooks(Books):
    """Books on one connection: they are read after every step."""

    def __init__(self, url: str) -> None:
        super().__init__(url=url)
        self._connection = psycopg.connect(url, autocommit=True)

    def ask(self, sql: str, params: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.encode(), params).fetchall()

    def close(self) -> None:
        self._connection.close()


class Money(RuleBasedStateMachine):
    """A hand for a worker; `held` are runs that it has claimed, `old` those that were taken from it or settled."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {_TABLES}")
        self.books = KeptBooks(self.url)
        self.ids: list[UUID] = []
        self.held: list[Run] = []
        self.old: list[Run] = []
        self.hand = Hand()
        credits.grant(user_id=USER, amount=40, reason="test", actor="test")
        for platform in (False, True, False):
            self.submit_one(cost=3, platform=platform)
        self.claim(most=3)

    def teardown(self) -> None:
        self.books.close()

    def submit_one(self, *, cost: int, platform: bool, **more: Any) -> None:
        type_, name = ("platform:run", "stub") if platform else ("debug:noop", None)
        payload = {"version": "v1", "input": {}} if platform else {}
        try:
            made = submit(type_, payload, platform=name, user_id=USER, credits=cost, **more)
        except (InsufficientCredits, Conflict):
            return
        self.ids.append(made.id)

    @rule(cost=st.integers(0, 7), platform=st.booleans(), later=st.booleans(), tries=PICK)
    def submit(self, cost: int, platform: bool, later: bool, tries: int) -> None:
        more: dict[str, Any] = {"process_in": 0.001} if later else {}
        if tries % 2:
            more |= {"unique_key": f"key-{tries % 4}", "unique_for": 600}
        self.submit_one(cost=cost, platform=platform, max_retries=tries % 3, **more)

    @rule()
    def grant(self) -> None:
        credits.grant(user_id=USER, amount=5, reason="test", actor="test")

    @rule()
    def dispatch(self) -> None:
        postgres.query("UPDATE task SET run_at = now() WHERE state IN (3, 4) RETURNING 1")
        duties.dispatch()

    @rule(most=st.integers(1, 3))
    def claim(self, most: int) -> None:
        self.held += runs.claim(self.hand.id, pending(most))

    @precondition(lambda self: self.held)
    @rule(pick=PICK, how=st.sampled_from(["success", "failure", "retry", "dead", "part"]))
    def finish(self, pick: int, how: str) -> None:
        run = self._take(pick)
        runs.settle(self.hand.id, [_ending(run, how)])

    @precondition(lambda self: self.held)
    @rule(pick=PICK, status=st.sampled_from([Status.QUEUED, Status.IN_PROGRESS, Status.UNKNOWN]))
    def poll(self, pick: int, status: Status) -> None:
        run = self._take(pick)
        facts = PlatformFacts(external_id=f"x-{run.id}", raw_status="word", polls=1)
        platform = facts if run.platform else None
        runs.settle(self.hand.id, [_outcome(run, Kind.POLLED, State.SCHEDULED, status, platform)])

    @precondition(lambda self: self.old)
    @rule(pick=PICK, how=st.sampled_from(["success", "failure", "retry", "dead"]))
    def finish_late(self, pick: int, how: str) -> None:
        """A write with a token that is not the task's any more, or of a run that was settled before."""
        run = self.old[pick % len(self.old)]
        assert not runs.settle(self.hand.id, [_ending(run, how)]).accepted

    @precondition(lambda self: self.held)
    @rule(unstarted=st.booleans())
    def hand_back(self, unstarted: bool) -> None:
        pairs = [(run.id, run.token) for run in self.held]
        runs.hand_back(self.hand.id, pairs, unstarted=unstarted, epoch=tickets.epoch())
        self._lose_all()

    @rule()
    def die_and_rescue(self) -> None:
        workers.retire(self.hand.id)
        workers.rescue()
        self._lose_all()
        self.hand = Hand("the next")

    @precondition(lambda self: self.ids)
    @rule(pick=PICK)
    def expire(self, pick: int) -> None:
        id_ = self._id(pick)
        for table, column in (("task", "deadline"), ("platform_task", "expires_at")):
            key = "id" if table == "task" else "task_id"
            open_ = "state NOT IN (5, 6)" if table == "task" else "ended_at IS NULL"
            postgres.query(
                f"UPDATE {table} SET {column} = clock_timestamp() WHERE {key} = %s AND {open_} RETURNING 1",
                [id_],
            )
        duties.sweep_deadlines()
        duties.sweep_archived()

    @precondition(lambda self: self.ids)
    @rule(pick=PICK, force=st.booleans())
    def cancel(self, pick: int, force: bool) -> None:
        self._act(lambda: actions.cancel(self._id(pick), actor="test", force=force))

    @precondition(lambda self: self.ids)
    @rule(pick=PICK, slowly=st.booleans())
    def run_now_or_redrive(self, pick: int, slowly: bool) -> None:
        self._act(lambda: actions.run_now(self._id(pick), actor="test", slowly=slowly))

    @precondition(lambda self: self.ids)
    @rule(pick=PICK)
    def archive(self, pick: int) -> None:
        self._act(lambda: actions.archive(self._id(pick), actor="test"))

    @precondition(lambda self: self.ids)
    @rule(pick=PICK)
    def delete(self, pick: int) -> None:
        id_ = self._id(pick)
        if self._act(lambda: actions.delete(id_, actor="test")):
            self.books.seen.pop(str(id_), None)

    @rule()
    def work_off(self) -> None:
        aftermath.advance()
        duties.fold()

    @invariant()
    def the_books_are_right(self) -> None:
        assert self.books.check(finished=False) == []
        assert self.books.ask(_OPEN_MONEY) == []

    def _act(self, act: Callable[[], object]) -> bool:
        """Whether it was legal; a refusal changes nothing and is an answer."""
        before = self.books.ask(_SUMS)
        try:
            act()
        except TaskCenterError:
            assert self.books.ask(_SUMS) == before
            return False
        return True

    def _id(self, pick: int) -> UUID:
        return self.ids[pick % len(self.ids)]

    def _take(self, pick: int) -> Run:
        run = self.held.pop(pick % len(self.held))
        self.old.append(run)
        return run

    def _lose_all(self) -> None:
        self.old += self.held
        self.held = []


_SUMS = "SELECT count(*), sum(amount), (SELECT sum(balance) FROM account) FROM credit_entry"
# Credits are somewhere: in balances, or taken by tasks that are unfinished or were delivered.
_OPEN_MONEY = """
SELECT granted, balances, spent FROM
  (SELECT coalesce(sum(amount), 0) AS granted FROM credit_entry WHERE kind = 1) g,
  (SELECT coalesce(sum(balance), 0) AS balances FROM account) b,
  (SELECT -coalesce(sum(amount), 0) AS spent FROM credit_entry WHERE kind IN (2, 3)) s
WHERE granted <> balances + spent
"""


def _ending(run: Run, how: str) -> Outcome:
    if how == "part" and run.platform and run.credits > 1:
        return _outcome(run, Kind.FAILED, State.COMPLETED, Status.FAILURE, refund=run.credits - 1)
    made = {"success": engine.succeeded, "retry": engine.retried, "dead": engine.dead}
    return made.get(how, engine.failed)(run)


def _outcome(
    run: Run,
    kind: Kind,
    state: State,
    status: Status,
    platform: PlatformFacts | None = None,
    refund: int | None = None,
) -> Outcome:
    return Outcome(
        task_id=run.id,
        token=run.token,
        kind=kind,
        state=state,
        status=status,
        counts=False,
        charged=run.credits > 0,
        platform=platform,
        refund=refund,
    )


@pytest.mark.req("F36", "C-02", "X-07")
def test_no_order_of_steps_makes_the_books_wrong(books: Books) -> None:
    register("stub", "https://stub.example", time_limit=3600)
    Money.url = books.url
    run_state_machine_as_test(
        Money,
        settings=settings(
            max_examples=sized(100, 10_000),
            stateful_step_count=sized(15, 40),
            deadline=None,
            derandomize=not LONG,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
