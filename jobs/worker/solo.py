"""One run on the present thread, start to outcome: in a child of the process lane and for a stock RQ worker."""

import asyncio
import time
from typing import Any

from django.db import close_old_connections

from jobs.domain.outcomes import Outcome
from jobs.lifecycle.settlement import Ending, Returned
from jobs.worker import execution
from jobs.worker.records import Active, Why


class Solo:
    """`cancel` comes from another thread: asynchronous handlers get CancelledError, others see their context."""

    def __init__(self, rec: Active) -> None:
        self._rec = rec
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    def outcome(self) -> Outcome:
        rec = self._rec
        rec.begin(time.monotonic())
        execution.bind_log(rec)
        try:
            close_old_connections()
            result = execution.call(rec)
            if result is not None and execution.is_awaitable(result):
                result = asyncio.run(self._await(result))
            ending: Ending = Returned(result=result)
        except BaseException as error:
            ending = execution.raised(error)
        finally:
            close_old_connections()
        return execution.verdict(rec, execution.final(rec, ending) or ending)

    def cancel(self, why: Why = Why.CANCEL) -> None:
        self._rec.why = why
        if self._rec.context is not None:
            self._rec.context.request_stop()
        loop, task = self._loop, self._task
        if loop is not None and task is not None:
            loop.call_soon_threadsafe(task.cancel)

    async def _await(self, awaitable: Any) -> Any:
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        return await awaitable
