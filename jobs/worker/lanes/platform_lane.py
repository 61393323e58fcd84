"""The platform lane: submits and polls of external platforms, a batch per platform, on the async lane's loop."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from jobs.domain.outcomes import Outcome
from jobs.lifecycle.settlement import Ending
from jobs.worker import execution
from jobs.worker.lanes.async_lane import AsyncLane, Begun, Ended
from jobs.worker.records import Active, Why

log = structlog.get_logger("worker")


class PlatformLane:
    """A run reports its own outcome; one that is stopped meanwhile ends at once and its report is ignored."""

    def __init__(
        self,
        host: AsyncLane,
        ended: Ended,
        settled: Callable[[Sequence[tuple[Active, Outcome]]], None],
        begun: Begun,
    ) -> None:
        self._host = host
        self._ended = ended
        self._settled = settled
        self._begun = begun
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished: list[tuple[Active, Outcome]] = []

    def start(self, records: Sequence[Active]) -> None:
        groups: dict[str | None, list[Active]] = {}
        for rec in records:
            groups.setdefault(rec.run.platform, []).append(rec)
        for group in groups.values():
            self._host.loop.call_soon_threadsafe(self._begin, group)

    def ask(self, rec: Active) -> None:
        """A cancelled run reports within its requests' time limits; what it hears decides, a success stands."""
        if rec.why is not Why.CANCEL:
            self.kill(rec)

    def kill(self, rec: Active) -> None:
        self._host.loop.call_soon_threadsafe(self._end, rec)

    def close(self) -> None:
        """The loop is the async lane's."""

    def _begin(self, group: list[Active]) -> None:
        self._begun(group)
        task = self._host.loop.create_task(self._run(group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, group: list[Active]) -> None:
        from jobs.builtin.platform_run import run_platform_batch

        by_id = {rec.run.id: rec for rec in group}

        def report(outcome: Outcome) -> bool:
            """False: the run was taken away meanwhile; what the platform said is for its history."""
            rec = by_id.pop(outcome.task_id, None)
            if rec is None or rec.done:
                return False
            self._finished.append((rec, outcome))
            if len(self._finished) == 1:
                self._host.loop.call_soon(self._flush)
            return True

        error: BaseException = RuntimeError("the platform handler reported nothing for this task")
        try:
            await run_platform_batch([rec.run for rec in group], report)
        except BaseException as raised:
            log.exception("platform batch failed", platform=group[0].run.platform, count=len(group))
            error = raised
        left: list[tuple[Active, Ending | None]] = [
            (rec, execution.raised(error)) for rec in by_id.values() if not rec.done
        ]
        if left:
            self._ended(left)

    def _flush(self) -> None:
        """What the answer to one request brought for many tasks is settled together."""
        finished, self._finished = self._finished, []
        self._settled(finished)

    def _end(self, rec: Active) -> None:
        if not rec.done and all(rec is not reported for reported, _ in self._finished):
            self._ended([(rec, execution.stopped(rec))])
