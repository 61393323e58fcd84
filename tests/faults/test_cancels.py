"""Cancels at every point of a task's life, and the platform's word that comes too late (F15, F27)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import UUID

import pytest
from django.db import connection

from jobs.domain.errors import IllegalTransition
from jobs.domain.outcomes import Outcome
from jobs.operations import actions, duties, runs, workers
from jobs.operations.runs import Run
from jobs.operations.tasks import submit
from jobs.store import postgres
from tests.support import engine
from tests.support.books import Books
from tests.support.engine import Hand, entries, pending, row
from tests.support.load import USERS, sized
from tests.support.platforms import (
    SCALE,
    Pump,
    Stubbed,
    ask,
    events,
    fact,
    fast,
    pump,
    stub,
)

pytestmark = pytest.mark.faults

__all__ = ["fast", "pump", "stub"]
CHARGE, REFUND = 2, 3
SUCCESS, FAILURE, CANCELLED = 4, 5, 9
COUNT = sized(10, 1_000)


class Life:
    """Charged tasks taken through one life by hand; each method is a point of it."""

    def __init__(self) -> None:
        self.hand = Hand()
        self.ids: list[UUID] = []
        self.runs: list[Run] = []

    def born(self, **options: object) -> None:
        for n in range(COUNT):
            made = submit("debug:noop", user_id=USERS[n % 5], credits=3, **options)  # type: ignore[arg-type]
            self.ids.append(made.id)

    def born_later(self) -> None:
        self.born(process_in=0.001)

    def waits(self) -> None:
        """Until nothing more is due; the clock is the database's."""
        postgres.query("UPDATE task SET run_at = now() WHERE state IN (3, 4) RETURNING 1")
        duties.dispatch()

    def claimed(self) -> None:
        self.runs = runs.claim(self.hand.id, pending(10 * COUNT))

    def _settled(self, make: Callable[[Run], Outcome]) -> None:
        for start in range(0, len(self.runs), 200):
            runs.settle(self.hand.id, [make(run) for run in self.runs[start : start + 200]])

    def succeeded(self) -> None:
        self._settled(engine.succeeded)

    def failed(self) -> None:
        self._settled(engine.failed)

    def retried(self) -> None:
        self._settled(engine.retried)

    def dead(self) -> None:
        self._settled(engine.dead)

    def lost(self) -> None:
        """Its worker dies; another one's sweep brings the runs back."""
        workers.retire(self.hand.id)
        workers.rescue()
        self.hand = Hand("the next")

    def archived(self) -> None:
        for id_ in self.ids:
            _if_legal(lambda id_=id_: actions.archive(id_, actor="test"))  # type: ignore[misc]

    def redriven(self) -> None:
        for id_ in self.ids:
            _if_legal(lambda id_=id_: actions.run_now(id_, actor="test"))  # type: ignore[misc]


def _if_legal(act: Callable[[], object]) -> bool:
    try:
        act()
    except IllegalTransition:
        return False
    return True


LIVES: dict[str, tuple[str, ...]] = {
    "success": ("born", "claimed", "succeeded"),
    "failure": ("born", "claimed", "failed"),
    "later": ("born_later", "waits", "claimed", "succeeded"),
    "retry": ("born", "claimed", "retried", "waits", "claimed", "succeeded"),
    "dead letter": ("born", "claimed", "dead", "redriven", "claimed", "succeeded"),
    "lost worker": ("born", "claimed", "lost", "claimed", "succeeded"),
    "put aside": ("born", "archived", "redriven", "claimed", "succeeded"),
}
POINTS = [(life, n) for life, steps in LIVES.items() for n in range(1, len(steps) + 1)]


@pytest.mark.req("F27", "C-02", "C-04")
@pytest.mark.parametrize(("name", "point"), POINTS, ids=[f"{n}-{p}" for n, p in POINTS])
def test_a_cancel_beside_any_step_of_a_life_is_refunded_once_or_not_at_all(
    books: Books, name: str, point: int
) -> None:
    life, steps = Life(), LIVES[name]
    for step in steps[:point]:
        getattr(life, step)()
    with ThreadPoolExecutor(1) as pool:
        cancels = pool.submit(_cancel_all, list(life.ids))
        if point < len(steps):
            getattr(life, steps[point])()
        granted = cancels.result(60)
    for step in steps[point + 1 :]:
        getattr(life, step)()
    _finish(life, books)
    assert books.check() == []
    assert books.deadlocks() == 0
    ends = dict(books.ask("SELECT id::text, status FROM task"))
    assert {ends[str(id_)] for id_, done in granted.items() if done} <= {CANCELLED}


def _cancel_all(ids: list[UUID]) -> dict[UUID, bool]:
    """Whether each was cancelled there and then; every second cancel is forced."""
    granted: dict[UUID, bool] = {}
    try:
        for n, id_ in enumerate(ids):
            try:
                granted[id_] = actions.cancel(id_, actor="test", force=n % 2 == 0).refunded
            except IllegalTransition:
                granted[id_] = False
    finally:
        connection.close()
    return granted


def _finish(life: Life, books: Books) -> None:
    """Whatever is left of any life ends well, a dead letter is given up."""
    life.succeeded()
    life.hand = Hand("the last")
    for _ in range(5):
        if books.unfinished() == 0:
            break
        life.lost()
        life.waits()
        life.claimed()
        life.succeeded()
    for id_ in life.ids:
        if row(id_, "state") == 5 and row(id_, "status") != FAILURE:
            actions.cancel(id_, actor="test")


@pytest.mark.req("F27", "C-04")
@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
@pytest.mark.parametrize("point", ["submit", "accepted", "due", "walked", "ended"])
@pytest.mark.usefixtures("books", "fast")
def test_a_cancel_beside_any_step_of_a_platforms_task_is_refunded_once_or_not_at_all(
    stub: Stubbed, pump: Pump, books: Books, point: str, outcome: str
) -> None:
    made = [ask(seconds=SCALE, outcome=outcome).id for _ in range(min(COUNT, 100))]

    def raced(step: Callable[[], object]) -> None:
        with ThreadPoolExecutor(1) as pool:
            cancels = pool.submit(_cancel_all, made)
            step()
            cancels.result(60)

    match point:
        case "submit":
            raced(pump.step)
        case "accepted":
            pump.step()
            raced(lambda: pump.until(lambda: not pump.step(), 20))
        case "due":
            pump.step()
            postgres.query("UPDATE task SET run_at = now() WHERE state IN (3, 4) RETURNING 1")
            raced(pump.step)
        case "walked":
            pump.step()
            _walk_and_settle(pump, raced)
        case "ended":
            pump.until(lambda: books.unfinished() == 0, 30)
            raced(pump.step)
    pump.drained(30)
    assert books.check(created=[str(p.id) for p in stub.app.predictions.values()]) == []
    assert stub.created <= len(made)
    assert {row(id_, "status") for id_ in made} <= {SUCCESS, FAILURE, CANCELLED}


def _walk_and_settle(pump: Pump, raced: Callable[[Callable[[], object]], None]) -> None:
    """The platform has answered, nothing is written yet: the cancel comes beside the settle."""
    postgres.query("UPDATE task SET run_at = now() WHERE state IN (3, 4) RETURNING 1")
    duties.dispatch()
    outcomes = pump.walk(runs.claim(pump.hand.id, pending(200)))
    raced(lambda: runs.settle(pump.hand.id, outcomes))


@pytest.mark.req("F15", "C-04", "R-04")
@pytest.mark.usefixtures("books", "fast")
def test_a_success_after_the_time_outs_refund_is_written_down_and_changes_no_books(
    stub: Stubbed, books: Books
) -> None:
    with closing(Pump()) as pump:
        made = [ask(never_ends=True) for _ in range(sized(3, 20))]
        pump.until(lambda: all(fact(task, "external_id") for task in made))
        stub.app.down = True  # neither the last poll nor the cancel gets through
        postgres.query("UPDATE platform_task SET expires_at = clock_timestamp() RETURNING 1")
        postgres.query("UPDATE task SET run_at = now() WHERE state IN (3, 4) RETURNING 1")
        pump.until(lambda: all(row(task.id, "state") == 6 for task in made))
        assert [entries(task.id) for task in made] == [[(CHARGE, -30), (REFUND, 30)]] * len(made)
        books.look_at_ends()
        for prediction in stub.app.predictions.values():
            prediction.input.update(never_ends=False, seconds=0)  # it succeeds all the same
        stub.app.down = False
        postgres.query("UPDATE task SET run_at = now() WHERE state IN (3, 4) RETURNING 1")
        pump.drained(30)
    assert books.check() == []
    assert [row(task.id, "status") for task in made] == [FAILURE] * len(made)
    assert [events(task) for task in made] == [["late_success"]] * len(made)
    assert [entries(task.id) for task in made] == [[(CHARGE, -30), (REFUND, 30)]] * len(made)
