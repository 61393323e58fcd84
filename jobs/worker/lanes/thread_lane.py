"""The thread lane: plain functions on a few threads. A thread cannot be killed: it is abandoned, and counted."""

import contextvars
import queue
import threading
from collections.abc import Sequence

import structlog
from django.db import close_old_connections

from jobs.domain import ids
from jobs.lifecycle.settlement import Ending, Returned
from jobs.worker import execution
from jobs.worker.lanes.async_lane import Begun, Ended
from jobs.worker.records import Active

log = structlog.get_logger("worker")


class ThreadLane:
    """Threads are made when needed. `abandoned` counts those that went on after their run had been given up."""

    def __init__(self, ended: Ended, begun: Begun) -> None:
        self.abandoned = 0
        self._ended = ended
        self._begun = begun
        self._queue: queue.SimpleQueue[Active | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._busy = 0

    def start(self, records: Sequence[Active]) -> None:
        with self._lock:
            self._busy += len(records)
            fresh = max(0, self._busy - self._threads)
            self._threads += fresh
        for _ in range(fresh):
            threading.Thread(target=self._main, name="thread-lane", daemon=True).start()
        for rec in records:
            self._queue.put(rec)

    def ask(self, rec: Active) -> None:
        if rec.context is not None:
            rec.context.request_stop()

    def kill(self, rec: Active) -> None:
        """Give the run up: it ends in the books now, its thread goes on until it looks at its context."""
        self.ask(rec)
        with self._lock:
            if rec.done or rec.handle is None:
                return
            rec.handle = None
            self.abandoned += 1
            self._threads -= 1
            self._busy -= 1
        log.warning(
            "thread abandoned",
            task_id=ids.public_id(rec.run.id),
            type=rec.run.type,
            abandoned=self.abandoned,
        )
        self._ended([(rec, execution.stopped(rec))])

    def close(self) -> None:
        for _ in range(self._threads):
            self._queue.put(None)

    def _main(self) -> None:
        while (rec := self._queue.get()) is not None:
            rec.handle = threading.current_thread()
            ending = contextvars.copy_context().run(self._run, rec)
            with self._lock:
                abandoned = rec.handle is None
                rec.handle = None
                if abandoned:
                    self.abandoned -= 1
                else:
                    self._busy -= 1
            if abandoned:
                log.warning(
                    "abandoned thread came back",
                    task_id=ids.public_id(rec.run.id),
                    type=rec.run.type,
                )
                return
            self._ended([(rec, ending)])
            del rec

    def _run(self, rec: Active) -> Ending | None:
        if rec.why is not None:
            return execution.stopped(rec)
        self._begun([rec])
        try:
            execution.bind_log(rec)
            close_old_connections()
            ending: Ending = Returned(result=execution.run_sync(rec))
        except BaseException as error:
            ending = execution.raised(error)
        finally:
            close_old_connections()
        return execution.final(rec, ending)
