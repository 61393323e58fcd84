"""The only file that knows RQ's Worker: our engine under RQ's name, registration, heartbeat and commands."""

import json
import os
import random
import signal
import socket
import time
from types import FrameType
from typing import Any

import redis
import structlog
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import worker_registration
from rq.command import PUBSUB_CHANNEL_TEMPLATE
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.suspension import WORKERS_SUSPENDED
from rq.utils import now, utcformat
from rq.worker.base import BaseWorker, WorkerStatus

from jobs.domain.errors import Misconfigured
from jobs.worker import host, stopping
from jobs.worker.engine import Engine, Options, new_name

log = structlog.get_logger("worker")

_TTL_S = 15
_AWAY = (redis.RedisError, OSError)


class Worker(BaseWorker):
    """Started by `rqworker` and hydrated by dashboards: nothing is touched before `work`."""

    def __init__(self, queues: Any, name: str | None = None, **kwargs: Any) -> None:
        hydrated = kwargs.pop("prepare_for_work", True) is False
        kwargs["serializer"] = JSONSerializer
        kwargs["worker_ttl"] = _TTL_S
        kwargs.pop("default_worker_ttl", None)
        self.concurrency = int(kwargs.pop("concurrency", 0) or settings.ASYNQ_CONCURRENCY)
        self.strict = bool(kwargs.pop("strict", False))
        super().__init__(queues, name or new_name(), prepare_for_work=False, **kwargs)
        self.ip_address = ""
        if not hydrated:
            self.hostname, self.pid = socket.gethostname(), os.getpid()
        self.engine: Engine | None = None
        self._registered = False
        self._away_until_s = 0.0
        self._said_away = False

    def work(self, burst: bool = False, *_: Any, **__: Any) -> bool:
        """Run until told to stop (burst: until nothing is left). Returns whether anything was done."""
        options = Options(
            name=self.name,
            queues=tuple(self.queue_names()),
            concurrency=self.concurrency,
            strict=self.strict,
            burst=burst,
            grace_s=float(settings.TASKCENTER["STOP_GRACE_S"]),
        )
        engine = self.engine = Engine(options)
        self.connection.set_retry(Retry(NoBackoff(), 0))  # type: ignore[attr-defined]
        host.install_signals(engine, self.request_stop, self._be_quiet)
        engine.listen(self._channels, self._hear)
        engine.start()
        host.watch(engine, self._tick)
        stopping.finish(engine)
        self._leave()
        return engine.settler.succeeded + engine.settler.failed > 0

    # --- what RQ asks for --------------------------------------------------------------------------

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT: stop in order; the second one hands back at once."""
        if self.engine is not None:
            self.engine.ask_to_stop()

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        self.request_stop(signum, frame)

    def handle_payload(self, message: Any) -> None:
        """RQ's commands: `shutdown` and `stop-job`; a work-horse to kill there is none."""
        payload = json.loads(message["data"])
        command, engine = payload.get("command"), self.engine
        if engine is None:
            return
        log.info("rq command", command=command, job=payload.get("job_id"))
        if command == "shutdown":
            os.kill(os.getpid(), signal.SIGTERM)
        elif command in ("stop-job", "stop-execution"):
            engine.cancel(str(payload.get("job_id", "")))

    def request_stop_execution(self, execution_id: str) -> None:
        """An execution here is a task's ticket; `handle_payload` stops it by its job id."""

    def run_maintenance_tasks(self) -> None:
        """RQ's registries are decoration: rows and duties keep order."""

    def _start_scheduler(self, *_: Any, **__: Any) -> None:
        """Due times live in Postgres."""

    def execute_job(self, job: Job, queue: Queue) -> None:
        raise Misconfigured("Tasks are run by the engine, not by RQ")

    @property
    def _running(self) -> Engine:
        if self.engine is None:
            raise Misconfigured("This worker is only looked at; it does not run here")
        return self.engine

    # --- being seen by RQ's tools ------------------------------------------------------------------

    def _tick(self) -> None:
        """RQ's heartbeat and state, once a second; survives the absence of Redis."""
        if time.monotonic() < self._away_until_s:
            return
        try:
            self._beat()
            self._said_away = False
        except _AWAY as error:
            if not self._said_away:
                log.warning("RQ heartbeat not written", error=f"{type(error).__name__}: {error}")
            self._said_away, self._registered = True, False
            self._away_until_s = time.monotonic() + random.uniform(0.5, 2.0)

    def _beat(self) -> None:
        engine = self._running
        state = WorkerStatus.SUSPENDED if engine.suspended else WorkerStatus.IDLE
        state = WorkerStatus.BUSY if engine.active else state
        with self.connection.pipeline(transaction=False) as pipe:
            pipe.hexists(self.key, "birth")
            pipe.exists(WORKERS_SUSPENDED)
            born, suspended = pipe.execute()
            if not (born and self._registered):
                self._register(pipe)
            mapping = {
                "last_heartbeat": utcformat(now()),
                "state": state.value,
                "successful_job_count": engine.settler.succeeded,
                "failed_job_count": engine.settler.failed,
            }
            pipe.hset(self.key, mapping=mapping)  # type: ignore[arg-type]
            pipe.expire(self.key, _TTL_S)
            pipe.execute()
        if engine.suspended is not bool(suspended):
            engine.suspended = bool(suspended)
            log.info("suspended by rq" if suspended else "resumed by rq")
            engine.wake()

    def _register(self, pipe: Any) -> None:
        """Born in RQ, also again after Redis lost everything."""
        self.birth_date = self.birth_date or now()
        self.last_heartbeat = now()
        pipe.hdel(self.key, "death")
        pipe.hset(self.key, mapping={k: v for k, v in self.serialize().items() if v is not None})
        worker_registration.register(self, pipe)
        self._registered = True

    def _leave(self) -> None:
        try:
            self.register_death()  # type: ignore[no-untyped-call]
        except _AWAY as error:
            log.info("RQ was not told of the end", error=str(error))

    def _hear(self, data: str) -> None:
        self.handle_payload({"data": data})

    def _channels(self) -> list[str]:
        """RQ's channel by name, and by the worker's id, which is what tickets know their worker by."""
        return [self.pubsub_channel_name, PUBSUB_CHANNEL_TEMPLATE % self._running.worker_id]

    def _be_quiet(self) -> None:
        if self.engine is not None:
            self.engine.quiet = True
            log.info("quiet: no new tasks")
