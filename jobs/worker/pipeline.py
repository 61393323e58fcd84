"""The first two stages: fetch tickets for free slots, claim their rows, hand them to the lanes."""

import random
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

from jobs.domain.errors import RedisUnavailable, StaleEpoch
from jobs.domain.outcomes import Outcome
from jobs.domain.states import Lane
from jobs.operations import runs, tickets
from jobs.operations.runs import Run
from jobs.store import catalog, redis, rings
from jobs.store.crashes import crash_point
from jobs.worker import db, execution
from jobs.worker.polling import Poller
from jobs.worker.records import Active
from jobs.worker.rooms import rooms

if TYPE_CHECKING:
    from jobs.worker.engine import Engine

log = structlog.get_logger("worker")

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_BLOCK_S = 5.0
_SIDE_S = 0.1
_LOCKED_S = 0.05
_LOCKED_TRIES = 20
_TRIES_KEPT = 10_000
_PAUSE_S = 0.25
_OUTCOMES = 1000
_REDIS_RETRY_S = 1.0


class Feeder:
    """Runs on one thread; `step` never blocks longer than an idle worker may sleep (some 6 s, ended by `wake`)."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._unclaimed: list[str] = []
        self._parked: dict[str, float] = {}
        self._tries: dict[str, int] = {}
        self._was_idle = False
        self._full: frozenset[Lane] = frozenset()
        self._side_at_s = 0.0
        self._down = False
        self._redis_at_s = 0.0
        self._poller = Poller(engine)
        self._rooms: dict[str, int] = {}
        self._some_queue_full = False
        self._queue_of: dict[str, str] = {}
        self._database_tries = 0
        self.empty = 0

    def step(self) -> None:
        """One round; survives the absence of both stores."""
        try:
            self._round()
            self._database_tries = 0
        except StaleEpoch:
            self._renew()
        except RedisUnavailable as error:
            self._redis_lost(error)
        except db.DOWN as error:
            if self._database_tries == 0:
                log.warning("database not reached; waiting", error=str(error).strip())
            self._database_tries += 1
            db.reset()
            self._engine.pause(
                min(2.0, 0.1 * 2 ** min(self._database_tries, 5)) * random.uniform(0.5, 1.0)
            )

    def held(self) -> set[str]:
        """Tickets that are here without being claimed."""
        return {*self._unclaimed, *self._parked}

    def give_back(self) -> None:
        """Return every ticket that is not claimed (a stop's second step)."""
        ids = [*self._unclaimed, *self._parked]
        self._unclaimed, self._parked = [], {}
        if ids and self._engine.uses_redis:
            redis.give_back(self._engine.worker_id, ids, epoch=tickets.epoch(), front=True)

    def _round(self) -> None:
        engine = self._engine
        self._unpark()
        engine.return_overdue()
        if engine.held_back() or engine.settler.waiting() > _OUTCOMES:
            self.empty = 0
            engine.pause(_PAUSE_S)
            return
        if self._unclaimed:
            self._claim(self._unclaimed)
            return
        if not engine.uses_redis or self._down:
            self._from_rows()
            return
        self._from_redis()

    # --- Redis -------------------------------------------------------------------------------------

    def _from_redis(self) -> None:
        slots = self._engine.slots
        want = slots.want()
        side = {lane: slots.free(lane) for lane in (Lane.PROCESS, Lane.PLATFORM)}
        if want == 0 and not any(side.values()):
            slots.freed.wait(_PAUSE_S)
            slots.freed.clear()
            return
        slots.freed.clear()
        self._queue_of, self._rooms = {}, {}
        found = self._fetch(Lane.ASYNC, want)
        now_s = time.monotonic()
        if len(found) < want or now_s - self._side_at_s > _SIDE_S:
            self._side_at_s = now_s
            for lane, room in side.items():
                found += self._fetch(lane, room)
        if found:
            self.empty, self._was_idle = 0, False
            crash_point("after_fetch")
            self._unclaimed = found
            if not self._engine.stopping:
                self._claim(found)
            return
        self.empty += 1
        self._was_idle = True
        self._sleep(want, side)

    def _fetch(self, lane: Lane, want: int) -> list[str]:
        if want <= 0:
            return []
        engine, plan = self._engine, self._engine.served.plan(lane, want)
        if not plan.sources:
            return []
        self._rooms = rooms(engine, Counter(self._queue_of.values()))
        found = redis.fetch(
            engine.worker_id,
            plan.sources,
            want=want,
            epoch=tickets.epoch(),
            was_idle=self._was_idle,
            shares=plan.shares,
            rooms=self._rooms,
        )
        engine.served.gave(plan, found)
        self._queue_of.update((id_, batch.queue) for batch in found for id_ in batch.ids)
        return [id_ for batch in found for id_ in batch.ids]

    def freed(self, lane: Lane) -> None:
        """A run of this lane ended: if the lane was full, end the sleep in Redis, whose lists were not looked at."""
        if lane in self._full:
            self._full = frozenset()
            self._engine.wake()

    def settled(self) -> None:
        """Runs are written: if their queue was full, there is room now."""
        if self._some_queue_full:
            self._some_queue_full = False
            self._engine.wake()

    def _sleep(self, want: int, side: Mapping[Lane, int]) -> None:
        engine = self._engine
        if self._parked:
            engine.pause(_LOCKED_S)
        elif engine.burst:
            engine.pause(0.02)
        elif want == 0 and not engine.stopping:
            engine.slots.freed.wait(_PAUSE_S)
        elif not engine.stopping:
            # First say what is waited for, then look again: what ends in between is seen by one of both.
            self._full = frozenset(lane for lane, room in side.items() if room == 0)
            full = [queue for queue, room in self._rooms.items() if room == 0]
            self._some_queue_full = bool(full)
            if not any(engine.slots.free(lane) for lane in self._full) and not self._room(full):
                redis.wait(engine.worker_id, _BLOCK_S + random.uniform(-1.0, 1.0))
            self._full, self._some_queue_full = frozenset(), False

    def _room(self, full: Sequence[str]) -> bool:
        """Whether one of these queues, full a moment ago, has room by now."""
        now = rooms(self._engine, {}) if full else {}
        return any(now.get(queue, 1) for queue in full)

    def _renew(self) -> None:
        try:
            tickets.renew()
        except RedisUnavailable as error:
            self._redis_lost(error)

    def _redis_lost(self, error: Exception) -> None:
        now_s = time.monotonic()
        if not self._down:
            self._down = True
            self._poller.soon()
            log.warning("[兜底轮询] Redis is lost", polling=settings.UPDATE_TASK, error=str(error))
        self._redis_at_s = now_s + _REDIS_RETRY_S * random.uniform(0.8, 1.2)

    def _try_redis(self) -> bool:
        """Whether Redis answers again (asked once a second)."""
        if not self._engine.uses_redis or time.monotonic() < self._redis_at_s:
            return False
        try:
            tickets.renew()
        except RedisUnavailable as error:
            self._redis_lost(error)
            return False
        self._down, self._was_idle = False, False
        log.info("[兜底轮询] Redis is back")
        return True

    # --- rows alone --------------------------------------------------------------------------------

    def _from_rows(self) -> None:
        if self._try_redis():
            return
        claimed = self._poller.poll()
        if claimed:
            self.empty = 0
            crash_point("after_claim")
            self._take_in(claimed)
        elif claimed is not None:
            self.empty += 1

    # --- claim -------------------------------------------------------------------------------------

    def _claim(self, ids: list[str]) -> None:
        good = [ticket for ticket in ids if _ID.fullmatch(ticket)]
        claimed = runs.claim(self._engine.worker_id, good) if good else []
        crash_point("after_claim")
        self._unclaimed = []
        place = {ticket: n for n, ticket in enumerate(ids)}
        claimed.sort(key=lambda run: place[run.id])  # first in, first out within the batch too
        self._take_in(claimed)
        if len(claimed) < len(ids):
            self._explain(ids, good, {run.id for run in claimed})

    def _take_in(self, claimed: Sequence[Run]) -> None:
        known, ready, refused = catalog.queues(), [], []
        for run in claimed:
            rec = Active(run, known.name(run.queue_id), self._engine.worker_id)
            outcome = execution.equip(rec)
            if outcome is None:
                ready.append(rec)
            else:
                refused.append((rec, outcome))
        self._admit(ready, refused)

    def _admit(self, ready: list[Active], refused: list[tuple[Active, Outcome]]) -> None:
        engine = self._engine
        engine.active.update((rec.run.id, rec) for rec in ready)
        if refused:
            engine.active.update((rec.run.id, rec) for rec, _ in refused)
            log.error("runs refused", count=len(refused), first=refused[0][1].error)
            for rec, _ in refused:
                rec.done = True
            engine.settler.put(refused)
        if ready:
            engine.slots.admit(ready)

    def _explain(self, ids: Sequence[str], good: Sequence[str], claimed: set[str]) -> None:
        """Tickets that gave no run: of a paused queue, of a locked row, of a task that does not wait, or forged."""
        worker_id, epoch = self._engine.worker_id, tickets.epoch()
        absent = [ticket for ticket in good if ticket not in claimed]
        why = runs.missing(absent) if absent else runs.Missing(paused=[], locked=[], gone=[])
        forged = [ticket for ticket in ids if not _ID.fullmatch(ticket)]
        redis.ack(worker_id, [*why.gone, *forged])
        if why.paused:
            rings.hold(sorted({self._queue_of[t] for t in why.paused if t in self._queue_of}))
            redis.give_back(worker_id, why.paused, epoch=epoch, front=True)
            catalog.stale()
        for ticket in why.locked:
            self._parked[ticket] = time.monotonic() + _LOCKED_S

    def _unpark(self) -> None:
        """What was locked goes to the tail after 50 ms; what stays locked is left to the look for lost tickets."""
        now_s = time.monotonic()
        due = [ticket for ticket, due_s in self._parked.items() if due_s <= now_s]
        if not due:
            return
        if len(self._tries) > _TRIES_KEPT:
            self._tries.clear()
        for ticket in due:
            del self._parked[ticket]
            self._tries[ticket] = self._tries.get(ticket, 0) + 1
        worker_id = self._engine.worker_id
        redis.ack(worker_id, [ticket for ticket in due if self._tries[ticket] > _LOCKED_TRIES])
        again = [ticket for ticket in due if self._tries[ticket] <= _LOCKED_TRIES]
        redis.give_back(worker_id, again, epoch=tickets.epoch(), front=False)
