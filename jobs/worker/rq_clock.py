"""rq-scheduler as a clock: its name, registration and heartbeat; what is due is decided by the schedules' rows.

RQ's own set of scheduled jobs is left alone: it can lose an entry in a crash, knows no time zones and would run
whatever stands in it. Several schedulers may tick at once: a row is ticked under its lock, a tick exists once.
"""

import random
import time
from collections.abc import Callable
from typing import Any

import redis
import structlog
from rq.job import Job
from rq.serializers import JSONSerializer
from rq_scheduler import Scheduler

from jobs.operations import schedules
from jobs.worker import db

log = structlog.get_logger("schedules")

_AWAY = (redis.RedisError, OSError)


class JsonJob(Job):
    """RQ's job with the JSON serializer, for whoever looks into the scheduler's set."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["serializer"] = JSONSerializer
        super().__init__(*args, **kwargs)


class Clock(Scheduler):  # type: ignore[misc]  # rq-scheduler has no types
    """Seen by RQ's tools as a living scheduler; lives on while Redis is away."""

    job_class = JsonJob

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._born = False
        self._again_s = 0.0

    def show(self) -> None:
        """Registration and heartbeat, once per interval."""
        if time.monotonic() < self._again_s:
            return
        try:
            if not self._born or not self.connection.exists(self.key):
                self.register_birth()
                self._born = True
            self.heartbeat()
        except (*_AWAY, ValueError) as error:  # ValueError: an entry of that name is still there
            self._born = False
            self._again_s = time.monotonic() + random.uniform(1.0, 3.0)
            log.info("scheduler not shown in Redis", error=f"{type(error).__name__}: {error}")

    def enqueue_jobs(self) -> list[Job]:
        """Tick the rows instead of moving RQ's set."""
        schedules.tick()
        return []

    def leave(self) -> None:
        try:
            self.register_death()
        except _AWAY as error:
            log.info("RQ was not told of the end", error=str(error))


def tick_safely() -> None:
    """One round of due schedules; without the database they stay due."""
    try:
        made = schedules.tick()
        if made:
            log.info("schedules ticked", tasks=made)
    except db.DOWN as error:
        log.warning("schedules wait for the database", error=str(error).strip())
        db.reset()
    except Exception:
        log.exception("a round of schedules failed")
        db.reset()


def run(interval_s: float, stopped: Callable[[float], bool], *steps: Callable[[], object]) -> None:
    """Tick every `interval_s` until `stopped(seconds)` says so, doing `steps` beside."""
    while True:
        started_s = time.monotonic()
        for step in (tick_safely, *steps):
            step()
        if stopped(max(0.0, interval_s - (time.monotonic() - started_s))):
            return
