"""The last stage: outcomes into the database in batches, then their tickets acknowledged."""

import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError

from jobs.domain import ids
from jobs.domain.errors import RedisUnavailable
from jobs.domain.outcomes import Kind, Outcome
from jobs.operations import runs
from jobs.store import redis
from jobs.store.crashes import crash_point
from jobs.worker import db, execution
from jobs.worker.hooks import Hooks
from jobs.worker.records import Active

log = structlog.get_logger("asynq")

BATCH = 200
_LINES = 10
_UNSTORABLE = "OutcomeRefused: this run's outcome could not be stored"
_DONE = (Kind.SUCCEEDED,)
_BAD = (Kind.RETRIED, Kind.DEAD, Kind.FAILED, Kind.CRASHED)

_ROWS_FAULT = (DataError, IntegrityError, ValueError, TypeError)
"""What one outcome can cause; anything else (a store away, a schema on its way) keeps all of them."""

Item = tuple[Active, Outcome]


class Settler:
    """No linger: what came while the last batch was written is the next batch. Kept while Postgres is away."""

    def __init__(self, settled: Callable[[Sequence[Item]], None], *, acknowledge: bool) -> None:
        self.succeeded = 0
        self.failed = 0
        self.hooks = Hooks()
        self._settled = settled
        self._acknowledge = acknowledge
        self._items: deque[Item] = deque()
        self._writing = 0
        self._changed = threading.Condition()
        self._tries = 0

    def put(self, items: Sequence[Item]) -> None:
        with self._changed:
            self._items.extend(items)
            self._changed.notify()

    def waiting(self) -> int:
        return len(self._items) + self._writing

    def forget(self) -> None:
        """Drop everything: this worker was declared dead and may write nothing more."""
        with self._changed:
            self._items.clear()

    def step(self, at_most_s: float) -> None:
        """Settle one batch. Raises nothing: what cannot be written now is kept."""
        with self._changed:
            if not self._items:
                self._changed.wait(at_most_s)
            batch = [self._items.popleft() for _ in range(min(BATCH, len(self._items)))]
            self._writing = len(batch)
        if not batch:
            return
        crash_point("after_run")
        try:
            self._write(batch)
            self._tries = 0
        except (DatabaseError, InterfaceError) as error:
            self._keep(batch, error)
        finally:
            self._writing = 0

    def _write(self, batch: list[Item]) -> None:
        for worker_id in sorted({rec.worker_id for rec, _ in batch}):
            mine = [item for item in batch if item[0].worker_id == worker_id]
            self._write_for(worker_id, mine)

    def _write_for(self, worker_id: int, batch: list[Item]) -> None:
        try:
            accepted = runs.settle(worker_id, [outcome for _, outcome in batch])
        except _ROWS_FAULT as error:
            db.reset()
            self._apart(worker_id, batch, error)
            return
        crash_point("after_settle")
        self._count(batch)
        self._settled(batch)
        if self._acknowledge:
            self._ack(worker_id, batch)
        stored = [item for item in batch if item[1].task_id in accepted]
        _report(stored)
        self.hooks.tell(stored)

    def _apart(self, worker_id: int, batch: list[Item], error: Exception) -> None:
        """Something in the batch cannot be stored: find it by halving, and dead-letter it alone."""
        log.error("settle refused", count=len(batch), error=f"{type(error).__name__}: {error}")
        if len(batch) > 1:
            half = len(batch) // 2
            self._write_for(worker_id, batch[:half])
            self._write_for(worker_id, batch[half:])
            return
        rec, outcome = batch[0]
        if (outcome.error or "").startswith(_UNSTORABLE):
            self._settled(batch)  # given up here; the self-audit hands its row back
            return
        text = f"{_UNSTORABLE}: {type(error).__name__}"
        self._write_for(worker_id, [(rec, execution.dead(rec, text))])

    def _keep(self, batch: list[Item], error: Exception) -> None:
        with self._changed:
            self._items.extendleft(reversed(batch))
        if self._tries == 0:
            log.warning(
                "results kept until they can be written",
                count=len(self._items),
                error=str(error).strip(),
            )
        db.reset()
        self._tries += 1
        threading.Event().wait(min(2.0, 0.1 * 2 ** min(self._tries, 5)) * random.uniform(0.5, 1.0))

    def _count(self, batch: list[Item]) -> None:
        for _, outcome in batch:
            if outcome.kind in _DONE:
                self.succeeded += 1
            elif outcome.kind in _BAD:
                self.failed += 1

    def _ack(self, worker_id: int, batch: list[Item]) -> None:
        with suppress(RedisUnavailable):  # the self-audit forgets what is left when Redis is back
            redis.ack(worker_id, [outcome.task_id for _, outcome in batch])


def _report(items: list[Item]) -> None:
    """The guide's lines. A few tasks get a line each; a full batch gets one, for a line costs as much as a task."""
    done = [item for item in items if item[1].kind in _DONE]
    if len(done) <= _LINES:
        for rec, outcome in done:
            log.info("[Asynq] Task completed", **_facts(rec, outcome))
    else:
        log.info("[Asynq] Task completed", count=len(done), first=ids.public_id(done[0][0].run.id))
    bad = [item for item in items if item[1].kind in _BAD]
    for rec, outcome in bad[: _LINES * 2]:
        text = (outcome.error or "").partition("\n")[0]
        log.warning(
            "[Asynq] Task failed", error=text, retry_in_s=_next(outcome), **_facts(rec, outcome)
        )
    if len(bad) > _LINES * 2:
        log.warning("[Asynq] Task failed", count=len(bad), first=ids.public_id(bad[0][0].run.id))


def _facts(rec: Active, outcome: Outcome) -> dict[str, object]:
    run = rec.run
    return {
        "task_id": ids.public_id(run.id),
        "type": run.type,
        "queue": rec.queue,
        "attempt": run.runs,
        "trace_id": run.trace_id,
        "duration_s": round(outcome.duration_s, 4),
    }


def _next(outcome: Outcome) -> float | None:
    return round(outcome.delay_s, 2) if outcome.delay_s else None
