"""A worker's state and threads, without knowledge of RQ: born, beating, feeding lanes, and stopping in order."""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from django.conf import settings

from jobs.domain import ids
from jobs.domain.errors import RedisUnavailable
from jobs.domain.outcomes import Outcome
from jobs.domain.states import Lane
from jobs.lifecycle.settlement import Ending, TimedOutAfter
from jobs.operations import workers
from jobs.store import catalog, keys, redis
from jobs.worker import birth, db, duties, execution, handing_back
from jobs.worker.asking import Asker
from jobs.worker.heartbeat import Heartbeat
from jobs.worker.making import make_lanes
from jobs.worker.pipeline import Feeder
from jobs.worker.records import Active, Why
from jobs.worker.served import Served
from jobs.worker.settler import Settler
from jobs.worker.signals import Ears
from jobs.worker.threads import Threads
from jobs.worker.watchdog import LoopWatch, Watchdog

log = structlog.get_logger("worker")

EVERYONE = "all"


def new_name() -> str:
    """A name as operators see it: host, process, and something that no earlier process had."""
    return f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:4]}"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a worker is started with; `queues` empty: all."""

    name: str = field(default_factory=new_name)
    queues: tuple[str, ...] = ()
    concurrency: int = 10
    strict: bool = False
    burst: bool = False
    grace_s: float = 30.0


class Engine:
    """Public methods may be called from any thread."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.uses_redis = bool(settings.ASYNQ_POLLING_ENABLED)
        self.consumes = bool(settings.ASYNQ_POLLING_ENABLED or settings.UPDATE_TASK)
        self.burst = options.burst
        self.grace_s = options.grace_s
        self.worker_id = 0
        self.active: dict[str, Active] = {}
        self.stopping = False
        self.stopped = False
        self.suspended = False
        self.quiet = False
        self.asked = threading.Event()
        self.exit_code = 0
        self._quiet_by_command = False
        self._woken = threading.Event()
        self._ending = threading.Lock()
        self.served = Served(options.queues, strict=options.strict)
        self.settler = Settler(self._settled, acknowledge=self.uses_redis)
        self.watchdog = Watchdog(self._expire)
        self.heartbeat = Heartbeat(self)
        self.feeder = Feeder(self)
        self.asker = Asker(self)
        self.leases = duties.Leases(options.name)
        self.slots, self.lanes = make_lanes(self, options.concurrency)
        self.slots.on_free = self.feeder.freed
        self.loop_watch = LoopWatch(self.lanes.loop, self._convict)
        self.ears = Ears(self._channels, self._hear)
        self.threads = Threads()
        self._more_channels: Callable[[], list[str]] = list
        self._hear_more: Callable[[str], None] = lambda _data: None

    # --- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Be born in the database (waiting for it) and start the threads. Raises UnknownQueue."""
        db.prepare_often_used()
        self.worker_id = birth.be_born(self, check=True)
        birth.warn_of_redis(self)
        birth.warn_of_keys()
        self.threads.spawn("heartbeat", lambda: self.heartbeat.step(1.0))
        if not self.consumes:
            log.warning(
                "[Asynq] nothing is run: ASYNQ_POLLING_ENABLED and UPDATE_TASK are both false"
            )
            return
        if not settings.UPDATE_TASK:
            log.warning("UPDATE_TASK=false: without Redis this worker would stand still")
        self.threads.spawn("settler", lambda: self.settler.step(0.5))
        self.threads.spawn("watchdog", self._watch)
        self.threads.spawn("feeder", self.feeder.step, until=lambda: self.stopping)
        self.threads.spawn("polls", self.asker.step, until=lambda: self.stopping)
        quick, slow = duties.quick(self.leases), duties.slow(self.leases, self.heartbeat.punctual_s)
        self.threads.spawn("duties", lambda: time.sleep(quick.step(0.25)))
        self.threads.spawn("sweeps", lambda: time.sleep(slow.step(0.5)))
        if self.uses_redis:
            self.threads.spawn("ears", self.ears.step)
        log.info("[Asynq] Polling system initialized successfully", **birth.settings_in_force(self))

    def drained(self) -> bool:
        """Nothing to do any more (burst): looked twice, found nothing, all is settled."""
        return self.feeder.empty >= 2 and not self.active and self.settler.waiting() == 0

    def reborn(self) -> None:
        """Somebody declared this worker dead: nothing of it may be written; start over with a new id."""
        log.error("declared dead; starting over", worker_id=self.worker_id)
        lost, old_id = list(self.active.values()), self.worker_id
        self.settler.forget()
        for rec in lost:
            self.stop_run(rec, Why.LOST, hard=True)
            self.active.pop(rec.run.id, None)
        self.worker_id = birth.be_born(self, check=False)
        if self.uses_redis:
            workers.bury(old_id)

    def ask_to_stop(self) -> None:
        """First call: a graceful stop. Second: hand everything back at once."""
        if self.stopping:
            self.grace_s = 0.0
        self.stopping = True
        self.asked.set()
        self.wake()

    def listen(self, channels: Callable[[], list[str]], hear: Callable[[str], None]) -> None:
        """Hear further Redis channels; before `start`."""
        self._more_channels, self._hear_more = channels, hear

    # --- what others tell --------------------------------------------------------------------------

    def cancel(self, task_id: str) -> bool:
        """Ask one run to stop; False when it isn't here."""
        rec = self.active.get(task_id)
        if rec is None or rec.done:
            return False
        self.stop_run(rec, Why.CANCEL, hard=False)
        return True

    def obey(self, command: str) -> None:
        """An operator's command on the worker's row: quiet, stop, or nothing any more."""
        if command == "stop" and not self.stopping:
            self.ask_to_stop()
        self._quiet_by_command = command == "quiet"

    def resize(self, concurrency: int) -> None:
        """Another number of slots, while running."""
        wanted = max(1, min(concurrency, workers.MOST_CONCURRENCY))
        if wanted != self.slots.concurrency:
            self.slots.resize(wanted, execution.thread_limit(wanted))
            log.info("concurrency changed", concurrency=wanted)

    def reconsider(self) -> None:
        """Queues changed: look at them anew, also out of sleep."""
        catalog.stale()
        self.wake()

    def wake(self) -> None:
        """End the feeder's sleep."""
        self._woken.set()
        self.slots.freed.set()
        if self.uses_redis and self.worker_id:
            with suppress(RedisUnavailable):  # then it does not sleep there
                redis.wake(self.worker_id)

    def held_back(self) -> bool:
        """Whether nothing may be fetched now."""
        return (
            self.stopping
            or self.stopped
            or self.suspended
            or self.quiet
            or self._quiet_by_command
            or self.loop_watch.blocked
        )

    def give_up(self) -> None:
        """Stop in order, for whoever supervises this process to start another."""
        self.exit_code = 75
        if not self.stopping:
            self.ask_to_stop()

    def pause(self, seconds: float) -> None:
        """The feeder's short sleep; `wake` ends it."""
        self._woken.wait(seconds)
        self._woken.clear()

    def abandoned(self) -> int:
        return self.lanes.threads.abandoned

    def close_lanes(self) -> None:
        for lane in self.lanes.by_lane.values():
            lane.close()

    # --- runs --------------------------------------------------------------------------------------

    def stop_run(self, rec: Active, why: Why, *, hard: bool) -> None:
        """Stop one run from outside; the first reason stands."""
        with self._ending:
            if rec.done:
                return
            rec.why = rec.why or why
        lane = self.lanes.by_lane[rec.lane]
        (lane.kill if hard else lane.ask)(rec)

    def ended(self, endings: Sequence[tuple[Active, Ending | None]]) -> None:
        """Runs ended in a lane; None: stopped without an outcome (lost, or to be handed back)."""
        items: list[tuple[Active, Outcome]] = []
        freed: dict[Lane, tuple[int, float]] = {}
        now_s = time.monotonic()
        for rec, ending in endings:
            with self._ending:
                if rec.done:
                    continue
                rec.done = True
            count, seconds = freed.get(rec.lane, (0, 0.0))
            freed[rec.lane] = (
                count + 1,
                seconds + (now_s - rec.started_s if rec.started_s else 0.0),
            )
            if ending is not None:
                items.append((rec, execution.verdict(rec, ending)))
            elif rec.why is Why.LOST:
                self.forget(rec)
        if items:
            self.settler.put(items)
        for lane, (count, seconds) in freed.items():
            self.slots.release(lane, count, seconds)

    def settle(self, items: Sequence[tuple[Active, Outcome]]) -> None:
        """Runs of one lane ended with outcomes of their own making."""
        with self._ending:
            mine = [(rec, outcome) for rec, outcome in items if not rec.done]
            for rec, _ in mine:
                rec.done = True
        if mine:
            now_s = time.monotonic()
            self.settler.put(mine)
            seconds = sum(now_s - rec.started_s for rec, _ in mine)
            self.slots.release(mine[0][0].lane, len(mine), seconds)

    def return_overdue(self) -> None:
        """Claimed too far ahead: back to the front of the queue for others."""
        late = self.slots.overdue()
        if late:
            handing_back.records(self, late, unstarted=True)

    def _settled(self, batch: Sequence[tuple[Active, Outcome]]) -> None:
        for rec, _ in batch:
            self.forget(rec)
        self.feeder.settled()

    def forget(self, rec: Active) -> None:
        if self.active.get(rec.run.id) is rec:
            del self.active[rec.run.id]

    def _expire(self, rec: Active) -> None:
        self.stop_run(rec, Why.TIMEOUT, hard=True)

    def _watch(self) -> None:
        self.watchdog.step(0.5)
        on_loop = [r for r in list(self.active.values()) if r.lane in (Lane.ASYNC, Lane.PLATFORM)]
        running = [r for r in on_loop if r.handle is not None and r.lane is Lane.ASYNC]
        self.loop_watch.step(running, busy=bool(on_loop))
        budget = max(2, self.slots.concurrency // 10)
        if self.lanes.threads.abandoned > budget and not self.stopping:
            log.error(
                "too many abandoned threads; this worker restarts",
                abandoned=self.lanes.threads.abandoned,
            )
            self.give_up()

    def _convict(self, rec: Active | None) -> None:
        """Something blocked the loop for a minute: if it can be named it alone pays; the process starts anew."""
        if not self.exit_code:
            guilty = None if rec is None else ids.public_id(rec.run.id)
            log.error("worker restarts: the event loop is blocked", task_id=guilty)
        if rec is not None:
            self.ended([(rec, TimedOutAfter(after_s=time.monotonic() - rec.started_s))])
        self.give_up()

    def _channels(self) -> list[str]:
        return [keys.signal(self.worker_id), keys.signal(EVERYONE), *self._more_channels()]

    def _hear(self, channel: str, message: str) -> None:
        if channel in self._more_channels():
            self._hear_more(message)
        else:
            self.heartbeat.soon()
