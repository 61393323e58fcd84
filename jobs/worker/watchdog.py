"""One thread that knows when each run must end, and whether a handler blocks the event loop."""

import ctypes
import heapq
import itertools
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence

import structlog

from jobs.domain import ids
from jobs.domain.outcomes import TimedOut
from jobs.worker.lanes.async_lane import AsyncLane, LoopGuard
from jobs.worker.records import Active

log = structlog.get_logger("worker")

_AGAIN_S = 1.0
_LOOK_S = 0.5
_LATE_S = 1.0
_HOPELESS_S = 60.0


class Watchdog:
    """`expire(rec)` is called when a run's time is over, again each second until it has ended."""

    def __init__(self, expire: Callable[[Active], None]) -> None:
        self._expire = expire
        self._heap: list[tuple[float, int, Active]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._next_s = float("inf")
        self._compact_at = 4096

    def watch(self, records: Sequence[Active]) -> None:
        """Start the clocks of these runs."""
        now_s = time.monotonic()
        with self._changed:
            for rec in records:
                rec.begin(now_s)
                if rec.expires_s != float("inf"):
                    heapq.heappush(self._heap, (rec.expires_s, next(self._numbers), rec))
            if len(self._heap) > self._compact_at:
                self._compact()
            if self._heap and self._heap[0][0] < self._next_s:
                self._changed.notify()

    def step(self, at_most_s: float) -> None:
        """Sleep until the next run's time is over, then end all that are due."""
        with self._changed:
            now_s = time.monotonic()
            self._next_s = min(self._heap[0][0] if self._heap else float("inf"), now_s + at_most_s)
            if self._next_s > now_s:
                self._changed.wait(self._next_s - now_s)
            due = self._due(time.monotonic())
        for rec in due:
            self._expire(rec)

    def _due(self, now_s: float) -> list[Active]:
        due: list[Active] = []
        while self._heap and self._heap[0][0] <= now_s:
            rec = heapq.heappop(self._heap)[2]
            if not rec.done:
                due.append(rec)
                heapq.heappush(self._heap, (now_s + _AGAIN_S, next(self._numbers), rec))
        return due

    def _compact(self) -> None:
        self._heap = [entry for entry in self._heap if not entry[2].done]
        heapq.heapify(self._heap)
        self._compact_at = max(4096, 2 * len(self._heap))


class LoopWatch:
    """A handler that blocks the loop is named after 1 s, interrupted after its own time, convicted after 60 s.

    `convict(None)`: nobody can be named (a bare callback, a loop that is gone), and still no answer.
    """

    def __init__(self, lane: AsyncLane, convict: Callable[[Active | None], None]) -> None:
        self.blocked = False
        self._lane = lane
        self._guard = LoopGuard(lane)
        self._convict = convict
        self._looked_s = 0.0
        self._named: Active | None = None

    def step(self, running: Sequence[Active], *, busy: bool) -> None:
        """`running`: runs that have begun on the loop; `busy`: something is on it, or waits to begin there."""
        now_s = time.monotonic()
        idle = not busy and not self.blocked
        if idle or now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        late_s = self._guard.late_s()
        self.blocked = late_s > _LATE_S
        if not self.blocked:
            self._named = None
            return
        rec = self._guard.culprit(running)
        if rec is not None:
            self._name(rec, late_s)
            if now_s > rec.expires_s:
                _interrupt(self._lane.thread)
        if late_s > _HOPELESS_S:
            self._convict(rec)

    def _name(self, rec: Active, late_s: float) -> None:
        if rec is self._named:
            return
        self._named = rec
        frame = sys._current_frames().get(self._lane.thread.ident or 0)
        stack = "".join(traceback.format_stack(frame)[-8:]) if frame else ""
        log.error(
            "handler blocks the event loop",
            task_id=ids.public_id(rec.run.id),
            type=rec.run.type,
            late_s=round(late_s, 1),
            stack=stack,
        )


def _interrupt(thread: threading.Thread) -> None:
    """Raise TimedOut in the loop's thread at its next bytecode; a C call must return first."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(TimedOut)
        )
