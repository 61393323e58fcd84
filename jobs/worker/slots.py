"""Who may start now: one count of running tasks for the worker, a limit per lane, and what is claimed but waits."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from jobs.domain.states import Lane
from jobs.worker.records import Active

BATCH = 200
LOOK_AHEAD_S = 0.025
SHORT_S = 0.1
WAIT_AT_MOST_S = 0.25

Start = Callable[[Sequence[Active]], None]


class Slots:
    """`concurrency` counts the async, thread and process lanes together; the platform lane has its own limit.

    Short tasks may be claimed ahead of a free slot, else each would wait for a round trip to the database: as many
    as start within 25 ms, none when the mean run is longer than 100 ms. What waits longer than 250 ms is given back.
    """

    def __init__(self, concurrency: int, limits: Mapping[Lane, int]) -> None:
        self.concurrency = concurrency
        self.freed = threading.Event()
        self.on_free: Callable[[Lane], None] = lambda _lane: None
        self.starts: dict[Lane, Start] = {}
        self.running = dict.fromkeys(Lane, 0)
        self.closed = False
        self._limits = dict(limits)
        self._waiting: dict[Lane, deque[Active]] = {lane: deque() for lane in Lane}
        self._lock = threading.Lock()
        self._rate_per_s = 0.0
        self._mean_s = 1.0
        self._ended = 0
        self._since_s = time.monotonic()
        self._crowded_until_s = 0.0

    def admit(self, records: Sequence[Active]) -> None:
        """Take claimed tasks in and start those that have a slot."""
        with self._lock:
            for rec in records:
                self._waiting[rec.lane].append(rec)
        self.pump()

    def pump(self) -> None:
        """Start what waits and may start, oldest claim first."""
        if self.closed:
            return
        with self._lock:
            chosen = self._choose()
        for lane, records in chosen.items():
            self.starts[lane](records)

    def release(self, lane: Lane, count: int, seconds: float) -> None:
        """`count` runs of a lane ended, `seconds` in all."""
        with self._lock:
            self.running[lane] -= count
            if lane is not Lane.PLATFORM:
                self._measure(count, seconds)
        self.pump()
        self.freed.set()
        self.on_free(lane)

    def free(self, lane: Lane) -> int:
        """How many tasks may be fetched now for the process or the platform lane."""
        room = self._limits[lane] - self.running[lane] - len(self._waiting[lane])
        if lane is Lane.PROCESS:
            room = min(room, self.concurrency - self._busy())
        return max(0, min(room, BATCH))

    def want(self) -> int:
        """How many tasks of the async and thread lanes may be fetched now, look-ahead included."""
        now_s = time.monotonic()
        ahead = 0.0
        if self._mean_s <= SHORT_S:
            ahead = min(BATCH - self.concurrency, self._rate_per_s * LOOK_AHEAD_S)
        room = self.concurrency + max(0, int(ahead)) - self._busy()
        limit = BATCH if now_s > self._crowded_until_s else 8
        return max(0, min(room, limit))

    def overdue(self) -> list[Active]:
        """Take out what was claimed more than 250 ms ago and has not started: other workers may be idle."""
        oldest_s = time.monotonic() - WAIT_AT_MOST_S
        if not any(w and w[0].claimed_s < oldest_s for w in self._waiting.values()):
            return []
        with self._lock:
            late = [rec for w in self._waiting.values() for rec in w if rec.claimed_s < oldest_s]
            for waiting in self._waiting.values():
                while waiting and waiting[0].claimed_s < oldest_s:
                    waiting.popleft()
        self._crowded_until_s = time.monotonic() + 1.0
        return late

    def close(self) -> list[Active]:
        """Start nothing more; returns what was waiting."""
        with self._lock:
            self.closed = True
            left = [rec for waiting in self._waiting.values() for rec in waiting]
            for waiting in self._waiting.values():
                waiting.clear()
        return left

    def resize(self, concurrency: int, threads: int) -> None:
        """More slots at once; fewer by starting nothing until enough runs have ended. No lock: signals come here."""
        self.concurrency = concurrency
        self._limits[Lane.ASYNC], self._limits[Lane.THREAD] = concurrency, threads
        self.freed.set()

    def _busy(self) -> int:
        return sum(
            self.running[lane] + len(self._waiting[lane])
            for lane in (Lane.ASYNC, Lane.THREAD, Lane.PROCESS)
        )

    def _choose(self) -> dict[Lane, list[Active]]:
        chosen: dict[Lane, list[Active]] = {}
        room = self.concurrency - sum(
            self.running[lane] for lane in Lane if lane is not Lane.PLATFORM
        )
        while True:
            heads = [
                (waiting[0].claimed_s, lane)
                for lane, waiting in self._waiting.items()
                if waiting
                and self.running[lane] < self._limits[lane]
                and (room > 0 or lane is Lane.PLATFORM)
            ]
            if not heads:
                return chosen
            first = min(heads)[1]
            take = self._limits[first] - self.running[first]
            if first is not Lane.PLATFORM:
                take = min(take, room)
            if len(heads) > 1:
                take = 1
            waiting = self._waiting[first]
            taken = [waiting.popleft() for _ in range(min(take, len(waiting)))]
            chosen.setdefault(first, []).extend(taken)
            self.running[first] += len(taken)
            if first is not Lane.PLATFORM:
                room -= len(taken)

    def _measure(self, count: int, seconds: float) -> None:
        """Smooth over some 50 ms, so that a burst's first batch already counts."""
        self._ended += count
        share = min(0.5, count / 50)
        self._mean_s += share * (seconds / max(count, 1) - self._mean_s)
        now_s = time.monotonic()
        if now_s - self._since_s >= 0.05:
            rate = self._ended / (now_s - self._since_s)
            self._rate_per_s += 0.5 * (rate - self._rate_per_s)
            self._ended, self._since_s = 0, now_s
