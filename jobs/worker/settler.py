"""The last stage: outcomes into the database in batches, then their tickets acknowledged."""

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError

from jobs.domain import ids
from jobs.domain.errors import RedisUnavailable
from jobs.domain.outcomes import Kind, Outcome
from jobs.operations import giving_up, runs
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

_MOST_TRIES = 3
_ROWS_FAULT = (DataError, IntegrityError, ValueError, TypeError)
"""What one outcome causes by what is in it, every time."""
_AWAY = (DatabaseError, InterfaceError, RedisUnavailable)
"""A store away, a schema on its way: all outcomes are kept."""
_BUSY = {"40P01", "40001", "55P03"}
"""Somebody else holds a row of one of them, and will let go."""
_TOO_SLOW = "57014"
_HELD_S = 0.5
"""After so long an outcome whose rows somebody kept locked is tried again, and then waits no longer than this:"""
_HELD_WAIT_S = 0.05

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
        self._tried: Counter[tuple[str, int]] = Counter()
        self._held: list[Item] = []
        self._held_until_s = 0.0

    def put(self, items: Sequence[Item]) -> None:
        with self._changed:
            self._items.extend(items)
            self._changed.notify()

    def waiting(self) -> int:
        return len(self._items) + len(self._held) + self._writing

    def forget(self) -> None:
        """Drop everything: this worker was declared dead and may write nothing more."""
        with self._changed:
            self._items.clear()
            self._held.clear()
            self._tried.clear()

    def step(self, at_most_s: float) -> None:
        """Settle one batch. Raises nothing: what cannot be written now is kept."""
        batch, wait_s = self._take(at_most_s)
        if not batch:
            return
        crash_point("after_run")
        parts = deque(_by_worker(batch))
        try:
            while parts:
                self._write_first(parts, wait_s)
            self._tries = 0
        except _AWAY as error:
            self._keep([item for part in parts for item in part], error)
        finally:
            self._writing = 0

    def _take(self, at_most_s: float) -> tuple[list[Item], float | None]:
        """The next batch, and how long to wait for its locked rows (None: as usual)."""
        with self._changed:
            if not self._items:
                left_s = self._held_until_s - time.monotonic() if self._held else at_most_s
                self._changed.wait(max(0.0, min(at_most_s, left_s)))
            if self._held and time.monotonic() >= self._held_until_s:
                batch, self._held = self._held[:BATCH], self._held[BATCH:]
                wait_s: float | None = _HELD_WAIT_S
            else:
                batch = [self._items.popleft() for _ in range(min(BATCH, len(self._items)))]
                wait_s = None
            self._writing = len(batch)
            return batch, wait_s

    def _write_first(self, parts: deque[list[Item]], wait_s: float | None) -> None:
        """The first part is written, or replaced by smaller ones; it stays where it is when a store is away."""
        part = parts[0]
        worker_id = part[0][0].worker_id
        try:
            settled = runs.settle(worker_id, [outcome for _, outcome in part], wait_s=wait_s)
        except Exception as error:
            if _is_away(error):
                raise
            db.reset()
            parts.popleft()
            parts.extendleft(reversed(self._apart(part, error)))
            return
        parts.popleft()
        crash_point("after_settle")
        if settled.held:
            part = self._hold(part, {outcome.task_id for outcome in settled.held})
        self._count(part)
        self._settled(part)
        for outcome in [o for _, o in part] if self._tried else ():
            self._tried.pop((outcome.task_id, outcome.token), None)
        if self._acknowledge:
            self._ack(worker_id, part)
        self._tell([item for item in part if item[1].task_id in settled.accepted])

    def _hold(self, part: list[Item], held: set[str]) -> list[Item]:
        """Keep for later whose rows are locked; returns the others."""
        with self._changed:
            if held and not self._held:  # later ones do not put off those that wait already
                self._held_until_s = time.monotonic() + _HELD_S
            self._held += [item for item in part if item[1].task_id in held]
        return [item for item in part if item[1].task_id not in held]

    def _tell(self, stored: list[Item]) -> None:
        """What is written is written: nothing that goes wrong here may bring it back."""
        try:
            _report(stored)
            self.hooks.tell(stored)
        except Exception:
            log.exception("settled, but not told", count=len(stored))

    def _apart(self, part: list[Item], error: Exception) -> list[list[Item]]:
        """Something in it cannot be stored: find it by halving; alone, it is tried again, then dead-lettered."""
        log.error(
            "settle refused", count=len(part), error=f"{type(error).__name__}: {error}"[:1000]
        )
        if len(part) > 1:
            half = len(part) // 2
            return [part[:half], part[half:]]
        rec, outcome = part[0]
        if self._may_try_again(outcome, error):
            self.put(part)  # behind all others
            return []
        if (outcome.error or "").startswith(_UNSTORABLE):
            self._give_up(rec, outcome)
            self._settled(part)
            return []
        said = f"{_UNSTORABLE}: {type(error).__name__}"
        return [[(rec, execution.dead(rec, said, refund=outcome.refund))]]

    def _give_up(self, rec: Active, outcome: Outcome) -> None:
        """Not even as a dead letter: its row is ended by itself, or else the self-audit hands it back."""
        try:
            giving_up.give_up(
                rec.worker_id,
                outcome.task_id,
                outcome.token,
                outcome.error or "",
                refund=outcome.refund,
            )
        except Exception as error:
            if _is_away(error):
                raise
            db.reset()
            log.exception("run cannot be given up", task_id=ids.public_id(outcome.task_id))
        if self._acknowledge:
            self._ack(rec.worker_id, [(rec, outcome)])

    def _may_try_again(self, outcome: Outcome, error: Exception) -> bool:
        """Locked rows for ever, what is in the outcome never, all else a few times."""
        if isinstance(error, _ROWS_FAULT):
            return False
        if _sqlstate(error) in _BUSY:
            return True
        key = (outcome.task_id, outcome.token)
        self._tried[key] += 1
        if self._tried[key] < _MOST_TRIES:
            return True
        del self._tried[key]
        return False

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


def _by_worker(batch: list[Item]) -> list[list[Item]]:
    """A process that was reborn may still hold outcomes of the worker that it was."""
    ids_ = sorted({rec.worker_id for rec, _ in batch})
    return [[item for item in batch if item[0].worker_id == id_] for id_ in ids_]


def _is_away(error: Exception) -> bool:
    if isinstance(error, _ROWS_FAULT) or _sqlstate(error) in (*_BUSY, _TOO_SLOW):
        return False
    return isinstance(error, _AWAY)


def _sqlstate(error: Exception) -> str | None:
    return getattr(error.__cause__, "sqlstate", None)


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
