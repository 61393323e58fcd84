"""The engine driven by hand: one worker's fetch, claim and settle, without a worker process."""

from collections.abc import Callable
from typing import Any

from jobs.domain.outcomes import Kind, Outcome
from jobs.domain.states import State, Status
from jobs.operations import credits, runs, tickets, workers
from jobs.operations.runs import Run
from jobs.operations.tasks import Submitted, submit
from jobs.store import catalog, keys, postgres, redis


def charged(amount: int = 30, user_id: int = 7, **options: Any) -> Submitted:
    """A task that costs `amount`, of a user who is granted 100 first."""
    credits.grant(user_id=user_id, amount=100, reason="test", actor="test")
    return submit("debug:noop", user_id=user_id, credits=amount, **options)


def pending(limit: int) -> list[str]:
    """Ids of pending tasks, queue by queue in their order, without tickets."""
    rows = postgres.query(
        "SELECT id::text FROM task WHERE state = 1 ORDER BY queue_id, ord LIMIT %s", [limit]
    )
    return [row[0] for row in rows]


class Hand:
    """A worker without a process."""

    def __init__(self, name: str = "by-hand") -> None:
        self.id = workers.register(name, {"concurrency": 10})

    def fetch(self, want: int = 100) -> list[str]:
        """Ticket ids from all queues."""
        lists = [keys.tickets(row.name) for row in catalog.queues(fresh=True).rows]
        found = redis.fetch(self.id, lists, want=want, epoch=tickets.epoch(), was_idle=False)
        return [id_ for batch in found for id_ in batch.ids]

    def claim(self, want: int = 100) -> list[Run]:
        ids = self.fetch(want)
        return runs.claim(self.id, ids) if ids else []

    def settle(self, claimed: list[Run], make: Callable[[Run], Outcome]) -> set[str]:
        accepted = runs.settle(self.id, [make(run) for run in claimed]).accepted
        redis.ack(self.id, [run.id for run in claimed])
        return accepted


def succeeded(run: Run) -> Outcome:
    return _outcome(run, Kind.SUCCEEDED, State.COMPLETED, Status.SUCCESS)


def failed(run: Run) -> Outcome:
    """The platform says failed."""
    return _outcome(run, Kind.FAILED, State.COMPLETED, Status.FAILURE, error="failed over there")


def dead(run: Run) -> Outcome:
    return _outcome(
        run, Kind.DEAD, State.ARCHIVED, Status.FAILURE, error="boom", to_dead_letter=True
    )


def retried(run: Run) -> Outcome:
    return _outcome(
        run, Kind.RETRIED, State.RETRY, Status(run.status), error="once more", delay_s=60.0
    )


def row(task_id: Any, *columns: str) -> Any:
    """Columns of a task's row; one column comes bare, no row is None."""
    rows = postgres.query(f"SELECT {', '.join(columns)} FROM task WHERE id = %s", [task_id])
    if not rows:
        return None
    return rows[0][0] if len(columns) == 1 else rows[0]


def balance(user_id: int) -> int:
    return int(postgres.query("SELECT balance FROM account WHERE user_id = %s", [user_id])[0][0])


def entries(task_id: Any) -> list[tuple[int, int]]:
    """(kind, amount) of a task's ledger lines in order."""
    return [
        (r[0], r[1])
        for r in postgres.query(
            "SELECT kind, amount FROM credit_entry WHERE task_id = %s ORDER BY id", [task_id]
        )
    ]


def _outcome(run: Run, kind: Kind, state: State, status: Status, **more: Any) -> Outcome:
    return Outcome(
        task_id=run.id,
        token=run.token,
        kind=kind,
        state=state,
        status=status,
        charged=run.credits > 0,
        **more,
    )


def in_state(state: State, **options: Any) -> Submitted:
    """A charged task that the engine brought into this state."""
    if state is State.SCHEDULED:
        return charged(process_in=600, **options)
    made = charged(**options)
    if state is State.PENDING:
        return made
    hand = Hand()
    claimed = hand.claim()
    make = {State.RETRY: retried, State.ARCHIVED: dead, State.COMPLETED: succeeded}.get(state)
    if make is not None:
        hand.settle(claimed, make)
    assert row(made.id, "state") == state
    return made
