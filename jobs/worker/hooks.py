"""Failure hooks of handlers: called after the settle, on a thread of their own, harming nothing.

A hook is a courtesy: it is called at most once per settled run, and not at all when its process dies first, when
more than `MOST` wait, or for what ends outside a run (a deadline passing in the queue, a worker's death).
"""

import asyncio
import queue
import threading
from collections.abc import Iterable, Iterator

import structlog
from django.db import close_old_connections

from jobs.domain import ids
from jobs.domain.outcomes import Kind, Outcome
from jobs.handlers.failure import Failure, Hook
from jobs.store import sealed
from jobs.worker.records import Active

log = structlog.get_logger("hooks")

MOST = 1000
_FAILED = (Kind.RETRIED, Kind.DEAD, Kind.FAILED, Kind.CRASHED)

Item = tuple[Active, Outcome]


class Hooks:
    """The thread starts with the first hook that is due; most workers never have one."""

    def __init__(self) -> None:
        self._due: queue.Queue[Item] = queue.Queue(MOST)
        self._thread: threading.Thread | None = None

    def tell(self, items: Iterable[Item]) -> None:
        """Queue the hooks of those that failed and have some. Never waits, never raises."""
        for item in items:
            if not has_hook(*item):
                continue
            try:
                self._due.put_nowait(item)
            except queue.Full:
                log.warning("failure hook skipped: too many wait", **_names(item[0]))
        if self._thread is None and not self._due.empty():
            self._thread = threading.Thread(target=self._serve, name="hooks", daemon=True)
            self._thread.start()

    def waiting(self) -> int:
        """Hooks that are due or being called."""
        return self._due.unfinished_tasks

    def _serve(self) -> None:
        while True:
            item = self._due.get()
            try:
                call(*item)
            finally:
                self._due.task_done()


def has_hook(rec: Active, outcome: Outcome) -> bool:
    found = rec.handler
    if outcome.kind not in _FAILED or found is None:  # None: its type is unknown here
        return False
    return found.on_failure is not None or (
        found.on_exhausted is not None and outcome.kind is Kind.DEAD
    )


def call(rec: Active, outcome: Outcome) -> None:
    """Call this run's hooks on the present thread; what they raise is logged."""
    if not has_hook(rec, outcome):
        return
    failure = _failure(rec, outcome)
    for name, hook in _hooks(rec, outcome):
        try:
            result = hook(rec.payload, failure, outcome.error or "")
            if asyncio.iscoroutine(result):
                asyncio.run(result)
        except (Exception, SystemExit, asyncio.CancelledError):
            log.exception("failure hook raised", hook=name, **_names(rec))
        finally:
            close_old_connections()


def _hooks(rec: Active, outcome: Outcome) -> Iterator[tuple[str, Hook]]:
    found = rec.handler
    if found.on_failure is not None:
        yield "on_failure", found.on_failure
    if found.on_exhausted is not None and outcome.kind is Kind.DEAD:
        yield "on_exhausted", found.on_exhausted


def _failure(rec: Active, outcome: Outcome) -> Failure:
    run = rec.run
    again = outcome.kind in (Kind.RETRIED, Kind.CRASHED)
    return Failure(
        task_id=ids.public_id(run.id),
        type=run.type,
        queue=rec.queue,
        attempt=run.runs,
        retried=run.retried,
        max_retries=run.max_retries,
        dead=outcome.kind is Kind.DEAD,
        retry_in_s=outcome.delay_s if again else None,
        user_id=run.user_id,
        business_id=run.business_id,
        trace_id=run.trace_id,
        tenant_id=run.tenant_id,
        headers=sealed.headers(run.options_json),
    )


def _names(rec: Active) -> dict[str, object]:
    return {"task_id": ids.public_id(rec.run.id), "type": rec.run.type, "attempt": rec.run.runs}
