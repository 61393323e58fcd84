"""Which settled runs call their handler's failure hooks (R-01, X-07)."""

from collections.abc import Iterator

import pytest

from jobs.domain.outcomes import Kind, Outcome
from jobs.domain.states import State, Status
from jobs.handlers import Failure, task
from jobs.operations.tasks import submit
from jobs.store import postgres
from jobs.worker import execution
from jobs.worker.hooks import MOST, Hooks
from jobs.worker.records import Active
from jobs.worker.settler import Settler
from tests.support import engine as books
from tests.support.wait import eventually

called: list[tuple[str, dict[str, int], Failure, str]] = []


@task(
    "test:hooked",
    on_failure=lambda payload, failure, error: called.append(("failure", payload, failure, error)),
    on_exhausted=lambda payload, failure, error: called.append(("dead", payload, failure, error)),
)
async def hooked(payload: dict[str, int]) -> None:
    """Never run here."""


@pytest.fixture(autouse=True)
def _none_called() -> Iterator[None]:
    called.clear()
    yield
    called.clear()


def _claimed(hand: books.Hand, count: int = 1) -> list[Active]:
    for n in range(count):
        submit("test:hooked", {"n": n})
    records = [Active(run, "default", hand.id) for run in hand.claim()]
    for rec in records:
        assert execution.equip(rec) is None
    return records


def _settle(records: list[Active], outcomes: list[Outcome]) -> Settler:
    settler = Settler(lambda _batch: None, acknowledge=False)
    settler.put(list(zip(records, outcomes, strict=True)))
    settler.step(0.1)
    eventually(lambda: settler.hooks.waiting() == 0)
    return settler


@pytest.mark.req("R-01", "X-07")
def test_a_run_that_was_taken_over_calls_no_hook(engine: None) -> None:
    hand = books.Hand()
    mine, lost = _claimed(hand, 2)
    postgres.query("UPDATE task SET token = token + 1 WHERE id = %s RETURNING 1", [lost.run.id])
    _settle([mine, lost], [books.retried(mine.run), books.retried(lost.run)])
    assert [(hook, payload) for hook, payload, _, _ in called] == [("failure", mine.payload)]


@pytest.mark.req("R-01")
def test_the_error_and_the_next_try_are_told(engine: None) -> None:
    [rec] = _claimed(books.Hand())
    _settle([rec], [books.retried(rec.run)])
    [(_, _, failure, error)] = called
    assert (failure.retry_in_s, failure.dead, error) == (60.0, False, "once more")
    assert (failure.attempt, failure.retried, failure.max_retries) == (1, 0, 3)


@pytest.mark.req("R-01")
def test_only_failures_call_hooks(engine: None) -> None:
    records = _claimed(books.Hand(), 4)
    postponed = Outcome(
        task_id=records[1].run.id,
        token=records[1].run.token,
        kind=Kind.POSTPONED,
        state=State.RETRY,
        status=Status.IN_PROGRESS,
        delay_s=1.0,
        counts=False,
    )
    failed, died = books.failed(records[2].run), books.dead(records[3].run)
    _settle(records, [books.succeeded(records[0].run), postponed, failed, died])
    assert [(hook, payload["n"]) for hook, payload, _, _ in called] == [
        ("failure", 2),
        ("failure", 3),
        ("dead", 3),
    ]


@pytest.mark.req("R-01")
def test_more_hooks_than_can_wait_are_skipped_and_hold_up_nobody(engine: None) -> None:
    [rec] = _claimed(books.Hand())
    hooks = Hooks()
    hooks._thread = object()  # type: ignore[assignment]  # nobody serves
    hooks.tell([(rec, books.retried(rec.run))] * (MOST + 5))
    assert hooks.waiting() == MOST
