"""The process lane: each run in a child that can be killed with its group; settled after its death."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import structlog

from jobs.domain import ids
from jobs.domain.outcomes import Outcome
from jobs.worker import execution
from jobs.worker.frames import Frames
from jobs.worker.lanes.async_lane import Begun, Ended
from jobs.worker.records import Active

log = structlog.get_logger("worker")

_START_S = 60.0


class Kid:
    """A child process with its pipe; it keeps running one task after another until it is killed."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jobs.worker.child", str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self.frames = Frames(ours)
        ours.settimeout(_START_S)
        self.ready = self.frames.receive() is not None
        ours.settimeout(None)
        self.killed = False

    def kill(self) -> None:
        """Kill the child's whole group: what it started must not outlive it."""
        self.killed = True
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def bury(self) -> str:
        """Wait for the death; returns how it came."""
        self.kill()
        code = self.process.wait()
        self.frames.close()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


class ProcessLane:
    """One thread per slot drives one child; children are made at the first run and made anew after a death."""

    def __init__(
        self,
        ended: Ended,
        settled: Callable[[Sequence[tuple[Active, Outcome]]], None],
        begun: Begun,
        slots: int,
    ) -> None:
        self._ended = ended
        self._settled = settled
        self._begun = begun
        self._slots = slots
        self._queue: queue.SimpleQueue[Active | None] = queue.SimpleQueue()
        self._drivers = 0
        self._idle = 0
        self._lock = threading.Lock()
        self._kids: set[Kid] = set()

    def start(self, records: Sequence[Active]) -> None:
        with self._lock:
            fresh = min(max(0, len(records) - self._idle), self._slots - self._drivers)
            self._drivers += fresh
            self._idle += fresh - len(records)
        for _ in range(fresh):
            threading.Thread(target=self._drive, name="process-lane", daemon=True).start()
        for rec in records:
            self._queue.put(rec)

    def ask(self, rec: Active) -> None:
        kid = rec.handle
        if kid is not None:
            with suppress(OSError):  # then it is dying already: its driver sees that
                kid.frames.send({"cancel": True})

    def kill(self, rec: Active) -> None:
        """The driver sees the closed pipe, waits for the death and ends the run by `rec.why`."""
        with self._lock:
            if rec.handle is not None:
                rec.handle.kill()

    def close(self) -> None:
        for kid in list(self._kids):
            kid.kill()

    def _drive(self) -> None:
        kid: Kid | None = None
        while (rec := self._queue.get()) is not None:
            kid = self._run(rec, kid)
            with self._lock:
                self._idle += 1

    def _run(self, rec: Active, kid: Kid | None) -> Kid | None:
        """Run one task; returns the child if it lives on."""
        kid = kid if kid is not None and kid.process.poll() is None else self._fresh()
        self._begun([rec])
        with self._lock:
            rec.handle = kid
        outcome = self._converse(rec, kid) if rec.why is None else None
        with self._lock:  # from here on no kill reaches this child
            rec.handle = None
        alive = outcome is not None and not kid.killed
        how = "" if alive else self._bury(kid)
        self._conclude(rec, outcome, how)
        return kid if alive else None

    def _conclude(self, rec: Active, outcome: Outcome | None, how: str) -> None:
        """What came first counts: the child's own outcome, else why it was stopped, else it crashed."""
        ending = execution.stopped(rec)
        if rec.why is not None and (outcome is None or ending is None):
            self._ended([(rec, ending)])
        elif outcome is not None:
            self._settled([(rec, outcome)])
        else:
            log.warning("child died", task_id=ids.public_id(rec.run.id), type=rec.run.type, how=how)
            self._settled([(rec, execution.crashed(rec, how))])

    def _converse(self, rec: Active, kid: Kid) -> Outcome | None:
        """Send the run and wait for its outcome; None when the child is gone."""
        try:
            kid.frames.send(
                {"run": msgspec.to_builtins(rec.run), "queue": rec.queue, "worker": rec.worker_id}
            )
        except OSError:
            return None
        while (message := kid.frames.receive()) is not None:
            if "progress" in message:
                rec.percent = int(message["progress"])
            elif "outcome" in message:
                return _outcome(message["outcome"])
        return None

    def _fresh(self) -> Kid:
        kid = Kid()
        self._kids.add(kid)
        if not kid.ready:
            log.error("a child of the process lane did not start", pid=kid.process.pid)
        return kid

    def _bury(self, kid: Kid) -> str:
        how = kid.bury()
        self._kids.discard(kid)
        return how


def _outcome(data: Any) -> Outcome:
    return msgspec.convert(data, Outcome)
