"""The async lane: one event loop in a thread of its own; runs come in and outcomes go out in batches."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from jobs.lifecycle.settlement import Ending, Returned
from jobs.worker import execution
from jobs.worker.records import Active

log = structlog.get_logger("worker")

Ended = Callable[[Sequence[tuple[Active, Ending | None]]], None]
_SHUT_DOWN_S = 1.0

Begun = Callable[[Sequence[Active]], None]


class AsyncLane:
    """`loop` also carries the platform lane. Everything that begins with `_` happens on the loop.

    `broken` is called, on the loop's thread, when a handler has stopped the loop: what runs goes on, but
    nobody can vouch for this process any more.
    """

    def __init__(self, ended: Ended, begun: Begun, broken: Callable[[], None]) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._main, name="async-lane", daemon=True)
        self._ended = ended
        self._begun = begun
        self._broken = broken
        self._closing = threading.Event()
        self._finished: list[tuple[Active, Ending | None]] = []
        self.thread.start()

    def start(self, records: Sequence[Active]) -> None:
        if threading.current_thread() is self.thread:
            self._begin(records)
        else:
            self.loop.call_soon_threadsafe(self._begin, records)

    def ask(self, rec: Active) -> None:
        if rec.context is not None:
            rec.context.request_stop()
        self.loop.call_soon_threadsafe(self._cancel, rec)

    def kill(self, rec: Active) -> None:
        self.ask(rec)

    def close(self) -> None:
        self._closing.set()
        with suppress(RuntimeError):  # a handler may even have closed it
            self.loop.call_soon_threadsafe(self.loop.stop)

    def _main(self) -> None:
        """Turn the loop until `close`, whoever stops it before that or raises through it."""
        asyncio.set_event_loop(self.loop)
        said = False
        while not self._closing.is_set() and not self.loop.is_closed():
            how = "stopped"
            try:
                self.loop.run_forever()
            except BaseException as error:  # SystemExit and the like, out of a bare callback
                how = f"{type(error).__name__}: {error}"[:500]
            if not self._closing.is_set() and not said:
                said = True
                log.error("a handler stopped the event loop", how=how)
                self._broken()
        with suppress(RuntimeError):  # closed by a handler, or stopped once more
            self.loop.run_until_complete(self._shut_down())

    async def _shut_down(self) -> None:
        """What handlers keep open for as long as the loop lives, connections above all."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SHUT_DOWN_S):
                await self.loop.shutdown_asyncgens()

    def _begin(self, records: Sequence[Active]) -> None:
        self._begun(records)
        create = self.loop.create_task
        for rec in records:
            rec.handle = create(self._run(rec))

    async def _run(self, rec: Active) -> None:
        try:
            if rec.why is not None:
                raise asyncio.CancelledError
            execution.bind_log(rec)
            result = execution.call(rec)
            if result is not None and execution.is_awaitable(result):
                result = await result
            came: Ending = Returned(result=result)
        except BaseException as error:
            came = execution.raised(error)
        ending = came if rec.why is None else execution.final(rec, came)
        rec.handle = None
        finished = self._finished
        finished.append((rec, ending))
        if len(finished) == 1:
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        finished, self._finished = self._finished, []
        self._ended(finished)

    def _cancel(self, rec: Active) -> None:
        task = rec.handle
        if task is not None and not rec.done:
            task.cancel()


class LoopGuard:
    """Sees when a handler blocks the loop, and names it."""

    def __init__(self, lane: AsyncLane) -> None:
        self._lane = lane
        self._asked_s = 0.0
        self._answered = True

    def late_s(self) -> float:
        """For how long the loop has owed an answer; asks again when it has answered."""
        now_s = time.monotonic()
        if self._answered:
            self._asked_s, self._answered = now_s, False
            self._lane.loop.call_soon_threadsafe(self._answer)
            return 0.0
        return now_s - self._asked_s

    def culprit(self, records: Sequence[Active]) -> Active | None:
        """The run whose step the loop is in."""
        current = asyncio.current_task(self._lane.loop)
        return next((rec for rec in records if rec.handle is current), None) if current else None

    def _answer(self) -> None:
        self._answered = True
