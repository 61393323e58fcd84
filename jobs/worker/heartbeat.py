"""The worker's lease, kept on a thread and connection of its own; and the audit of what the stores say it holds."""

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from jobs.builtin import platform_pace
from jobs.contract.reader import contract
from jobs.domain.errors import RedisUnavailable, StaleEpoch
from jobs.operations import runs, tickets, workers
from jobs.store import redis
from jobs.worker import db, handing_back
from jobs.worker.records import Why

if TYPE_CHECKING:
    from jobs.worker.engine import Engine

log = structlog.get_logger("worker")

_RETRY_S = 0.5
_FRESH_S = 1.0
_TASKS_SHOWN = 100


class Heartbeat:
    """Beats every 2.5 s, audits every 5 s, both at once when told that something changed."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._changed = threading.Event()
        self._beat_at_s = 0.0
        self._audit_at_s = 0.0
        self._unknown_rows: set[tuple[str, int]] = set()
        self._unknown_tickets: set[str] = set()
        self._punctual_since_s = clock_s()
        self._last_s = clock_s()
        self._version = -1
        self._asked: tuple[int, float] | None = None

    def soon(self) -> None:
        """Beat and audit now."""
        self._changed.set()

    def punctual_s(self) -> float:
        """For how long this process has beaten on time: only such a process may declare others dead (rule 7)."""
        late = clock_s() - self._last_s > 2 * contract().leases.beat_s
        return 0.0 if late else clock_s() - self._punctual_since_s

    def step(self, at_most_s: float) -> None:
        if self._changed.wait(max(0.0, min(at_most_s, self._beat_at_s - time.monotonic()))):
            self._changed.clear()
            self._beat_at_s = self._audit_at_s = 0.0
        if time.monotonic() < self._beat_at_s:
            return
        try:
            self._beat()
            if time.monotonic() >= self._audit_at_s:
                self._audit_at_s = time.monotonic() + contract().leases.audit_s
                self._audit_rows()
                self._audit_tickets()
        except db.DOWN as error:
            log.warning("heartbeat missed", error=str(error).strip())
            db.reset()
            self._beat_at_s = time.monotonic() + _RETRY_S

    def _beat(self) -> None:
        engine, started_s = self._engine, clock_s()
        beat = workers.beat(engine.worker_id, stats(engine))
        now_s, leases = clock_s(), contract().leases
        if now_s - self._last_s > 2 * leases.beat_s or now_s - started_s > 1.0:
            self._punctual_since_s = now_s
        self._last_s = now_s
        self._beat_at_s = time.monotonic() + leases.beat_s
        if beat is None:
            engine.reborn()
            return
        if beat.version != self._version:
            self._version = beat.version
            engine.reconsider()
        engine.stopped = beat.stopped
        engine.obey(beat.command)
        if beat.concurrency is not None and beat.concurrency != self._asked:
            engine.resize(beat.concurrency[0])
        self._asked = beat.concurrency
        for task_id in beat.cancel:
            engine.cancel(task_id)
        self._write_progress()

    def _write_progress(self) -> None:
        moved = [
            (rec.run.id, rec.run.token, percent)
            for rec in list(self._engine.active.values())
            if (percent := rec.percent) is not None and not rec.done
        ]
        if moved:
            runs.report_progress(self._engine.worker_id, moved)

    def _audit_rows(self) -> None:
        """Rows active under me that I don't run go back; runs whose row is no longer mine are ended here."""
        engine, asked_s = self._engine, time.monotonic()
        held = runs.holds(engine.worker_id)
        active = engine.active
        unknown = {
            (i, t) for i, t in held.items() if (rec := active.get(i)) is None or rec.run.token != t
        }
        again = sorted(unknown & self._unknown_rows)
        self._unknown_rows = unknown
        if again:
            log.warning("rows nobody runs handed back", count=len(again))
            handing_back.pairs(engine, again, unstarted=False)
        for rec in list(active.values()):
            mine = held.get(rec.run.id) == rec.run.token
            if not mine and not rec.done and rec.claimed_s < asked_s - _FRESH_S:
                engine.stop_run(rec, Why.LOST, hard=True)

    def _audit_tickets(self) -> None:
        """Tickets in flight under my name that I don't know of go back to their lists."""
        engine = self._engine
        if not engine.uses_redis:
            return
        try:
            held = redis.held([engine.worker_id])[engine.worker_id]
            unknown = held - engine.active.keys() - engine.feeder.held()
            again = sorted(unknown & self._unknown_tickets)
            self._unknown_tickets = unknown
            if again:
                log.warning("tickets nobody knows given back", count=len(again))
                redis.give_back(engine.worker_id, again, epoch=tickets.epoch(), front=True)
        except (RedisUnavailable, StaleEpoch):
            self._unknown_tickets = set()


def clock_s() -> float:
    """A clock that goes on while the machine sleeps, where there is one."""
    source = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if source is None else time.clock_gettime(source)


def stats(engine: "Engine") -> dict[str, Any]:
    """What the worker says of itself with each beat."""
    now_s, now_unix = time.monotonic(), time.time()
    running = [rec for rec in list(engine.active.values()) if rec.started_s and not rec.done]
    return {
        "running": sum(engine.slots.running.values()),
        "lanes": {lane.wire: count for lane, count in engine.slots.running.items()},
        "concurrency": engine.slots.concurrency,
        "queues": engine.served.names(),
        "quiet": engine.quiet,
        "stopping": engine.stopping,
        "abandoned_threads": engine.abandoned(),
        "rss_bytes": rss_bytes(),
        "succeeded": engine.settler.succeeded,
        "failed": engine.settler.failed,
        "platforms": platform_pace.pace.told(),
        "pace": {"window_s": platform_pace.WINDOW_S, "bounds_s": platform_pace.BOUNDS_S},
        "tasks": [
            {
                "id": rec.run.id,
                "type": rec.run.type,
                "started_at": now_unix - (now_s - rec.started_s),
            }
            for rec in running[:_TASKS_SHOWN]
        ],
    }


def rss_bytes() -> int:
    """Resident memory of this process (0 where /proc does not tell)."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
