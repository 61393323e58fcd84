"""Polls without a claim: one thread takes what is due and brings what was heard, the async lane's loop asks."""

import asyncio
import threading
import time
from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from jobs.operations import duties, polls
from jobs.store import catalog
from jobs.store.crashes import crash_point
from jobs.worker import db
from jobs.worker.records import Active

if TYPE_CHECKING:
    from jobs.builtin.platform_asking import Asking, Heard
    from jobs.worker.engine import Engine

log = structlog.get_logger("worker")

_BATCH = 500
_MOST = 2_000
_FEW = 100
"""For fewer no look is worth its statements while others are out."""
_AHEAD_S = 0.5
_BRING = 500
_BACKLOG = 1_000
_IDLE_S = 0.5
_FULL_S = 0.25
_LEAST_S = 0.02
_APART_S = 0.1
"""Between two looks, so that polls that are due one by one are made together."""
_FLOOR = timedelta(seconds=5)
_WHOLE_S = 10.0
_AGAIN_S = 1.0


class _Out:
    """A batch that was sent: `left` are those who wait for their answer (the loop takes them out, one by one)."""

    def __init__(self, asking: "Asking") -> None:
        self.asking = asking
        self.left = dict.fromkeys(run.id for run, _ in asking.pairs)
        self.since_s = time.monotonic()
        self.request: asyncio.Task[None] | None = None


class _Flow:
    """How many may be out: what is answered in half a second. More would only wait for places, and be put off."""

    def __init__(self) -> None:
        self._answered = 0
        self._since_s = time.monotonic()
        self._most = _BATCH

    def answered(self) -> None:
        self._answered += 1

    def most(self) -> int:
        took_s = time.monotonic() - self._since_s
        if took_s >= _AHEAD_S:
            ahead = round(self._answered / took_s * _AHEAD_S)
            self._most = min(_MOST, max(_BATCH, ahead, self._most // 2))
            self._answered, self._since_s = 0, time.monotonic()
        return self._most


class Asker:
    """`step` never blocks longer than half a second. What is lost here is asked again: nothing was claimed."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._heard: deque[Heard] = deque()
        self._batches: dict[int, _Out] = {}
        self._flow = _Flow()
        self._again_at_s = 0.0
        self._moved = threading.Event()
        self._floor = duties.EPOCH_ZERO
        self._whole_at_s = 0.0
        self._look_at_s = 0.0
        self._away = False

    def step(self) -> None:
        """Bring what was heard, then take and ask what is due."""
        try:
            self._round()
            self._away = False
        except db.DOWN as error:
            if not self._away:
                log.warning("polls wait for the database", error=str(error).strip())
            self._away = True
            db.reset()
            self._wait(_IDLE_S)

    def _round(self) -> None:
        engine = self._engine
        self._moved.clear()
        self._bring()
        self._put_off()
        if engine.held_back() or engine.settler.waiting() > _BACKLOG:
            self._wait(_FULL_S)
            return
        room = self._room()
        if room <= 0:
            self._wait(_LEAST_S)
            return
        early_s = self._look_at_s - time.monotonic()
        if early_s > 0:
            self._wait(early_s)
            return
        floor = self._floor_now()
        due_s = polls.next_due_s(floor, at_most_s=_IDLE_S)
        if due_s > 0:
            self._wait(due_s)
            return
        self._take(min(_BATCH, room), floor)

    def _room(self) -> int:
        """For how many more; those that are silent for long count only for the whole: they take nobody's turn."""
        young_s = time.monotonic() - _AGAIN_S
        out = [(len(b.left), b.since_s > young_s) for b in list(self._batches.values())]
        turns = self._flow.most() - sum(count for count, is_young in out if is_young)
        return min(turns if turns >= _FEW else 0, _MOST - sum(count for count, _ in out))

    def _take(self, want: int, floor: datetime) -> None:
        from jobs.builtin import platform_asking

        known = catalog.queues().by_name
        queues = [known[name].id for name in self._engine.served.names() if name in known]
        asking = platform_asking.take(queues, want, floor=floor)
        if asking.count < want:
            self._look_at_s = time.monotonic() + _APART_S
        self._floor = asking.oldest - _FLOOR
        if asking.pairs:
            crash_point("polls_taken")
            self._send(asking)
        elif asking.count == 0:
            # Due, but for others: its queue is not served here, or its row is locked.
            self._wait(_IDLE_S / 2)

    def _send(self, asking: "Asking") -> None:
        loop, batch = self._engine.lanes.loop.loop, _Out(asking)
        self._batches[id(batch)] = batch

        def begin() -> None:
            batch.request = loop.create_task(self._ask(batch))

        loop.call_soon_threadsafe(begin)

    async def _ask(self, batch: "_Out") -> None:
        """Each is out until it is answered: one that is not keeps no place of the others."""
        from jobs.builtin import platform_asking

        def hear(heard: "Heard") -> None:
            self._heard.append(heard)
            batch.left.pop(heard[1].task_id, None)
            self._flow.answered()
            self._moved.set()

        def pass_by(task_id: str) -> None:
            batch.left.pop(task_id, None)
            self._flow.answered()

        try:
            await platform_asking.ask(batch.asking, hear, pass_by)
        except Exception:
            log.exception("polls failed", count=len(batch.left))
        finally:
            del self._batches[id(batch)]
            self._moved.set()

    def _put_off(self) -> None:
        """Once a second: who still waits for an answer is not asked about again until its delay after that."""
        from jobs.builtin import platform_asking

        now_s = time.monotonic()
        if now_s < self._again_at_s:
            return
        self._again_at_s = now_s + _AGAIN_S
        for batch in list(self._batches.values()):
            left = list(batch.left) if now_s - batch.since_s >= _AGAIN_S else []
            if left:
                platform_asking.put_off(batch.asking, left)

    def _bring(self) -> None:
        from jobs.builtin import platform_asking

        engine = self._engine
        heard = [self._heard.popleft() for _ in range(min(_BRING, len(self._heard)))]
        if not heard or engine.stopping:
            return
        items = []
        brought = platform_asking.bring(engine.worker_id, heard)
        if brought:
            crash_point("polls_claimed")
        for run, outcome in brought:
            rec = Active(run, catalog.queues().name(run.queue_id), engine.worker_id)
            rec.done = True
            engine.active[run.id] = rec
            items.append((rec, outcome))
        if items:
            engine.settler.put(items)

    def _floor_now(self) -> datetime:
        """Index entries that an old snapshot keeps are passed by, but for a whole pass every ten seconds."""
        now_s = time.monotonic()
        if now_s < self._whole_at_s:
            return self._floor
        self._whole_at_s = now_s + _WHOLE_S
        return duties.EPOCH_ZERO

    def _wait(self, seconds: float) -> None:
        if not self._heard:
            self._moved.wait(max(_LEAST_S, seconds))
