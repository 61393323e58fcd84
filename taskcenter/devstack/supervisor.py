"""Starts services in order, keeps them running, stops them in the reverse order."""

import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from taskcenter.devstack.process import Child, StartFailed, last_line

_ALARMING = re.compile(r"\[(error|critical)\s*\]|\"level\": ?\"(error|critical)\"|^Traceback ")
_MAX_RUNNING_LOG_BYTES = 50 * 1024 * 1024
_MAX_LINES_PER_LOOK = 10
_LONG_LIFE_S = 60.0
_HURRY_S = 3.0


class Stopped(Exception):
    """Somebody asked us to stop."""


@dataclass
class Service:
    """A child with its place in the order of stopping; lower ranks stop first, equal ones together."""

    child: Child
    rank: int
    started_at_s: float = 0.0
    deaths: int = 0
    restart_at_s: float | None = None
    log_position: int = 0

    @property
    def name(self) -> str:
        return self.child.spec.name


@dataclass
class Supervisor:
    """`say` prints one line for people."""

    say: Callable[[str], None]
    services: list[Service] = field(default_factory=list)
    _signals: int = 0

    def listen(self) -> None:
        """Count SIGINT, SIGTERM and SIGHUP from now on; the first one ends `watch` and the waits.

        SIGHUP ends it under `nohup`, too: nothing is left behind a terminal that is gone.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def check(self) -> None:
        """Raise Stopped when a signal has come."""
        if self._signals:
            raise Stopped

    def adopt(self, child: Child, rank: int) -> None:
        """Take over a child that runs already."""
        service = Service(child, rank, started_at_s=time.monotonic())
        service.log_position = _size(service)
        self.services.append(service)
        self.check()

    def start(
        self,
        child: Child,
        rank: int,
        ready: Callable[[], bool] | None = None,
        timeout_s: float = 60,
    ) -> None:
        """Start a child and wait until it is ready. Raises StartFailed, Stopped."""
        child.start()
        self.adopt(child, rank)

        def ready_or_stopped() -> bool:
            return self._signals > 0 or ready is None or ready()

        child.wait_until(ready_or_stopped, timeout_s)
        self.check()

    def finish(self, child: Child, timeout_s: float) -> None:
        """Run a child to its successful end. Raises StartFailed, Stopped."""
        child.start()
        deadline = time.monotonic() + timeout_s
        try:
            while not child.wait(0.05):
                self.check()
                if time.monotonic() > deadline:
                    raise StartFailed(f"{child.spec.name} took more than {timeout_s:.0f} s")
        finally:
            child.kill()
        if child.returncode:
            log = child.spec.log
            raise StartFailed(f"{child.spec.name} failed: {last_line(log)} (see {log})")

    def watch(self) -> None:
        """Until a signal comes: restart what dies, show what goes wrong."""
        while not self._signals:
            for service in self.services:
                self._tend(service)
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop everything, rank by rank. A second signal hurries, a third one kills."""
        for rank in sorted({service.rank for service in self.services}):
            children = [s.child for s in self.services if s.rank == rank and s.child.alive]
            self._stop_together(children)
        for service in self.services:
            service.child.kill()

    def _stop_together(self, children: list[Child]) -> None:
        for child in children:
            child.signal(child.spec.stop_signal)
        deadline = time.monotonic() + max((child.spec.grace_s for child in children), default=0.0)
        seen = self._signals
        while any(child.alive for child in children) and time.monotonic() < deadline:
            if self._signals > max(seen, 1):
                seen = self._signals
                deadline = min(deadline, time.monotonic() + (_HURRY_S if seen == 2 else 0.0))
                for child in (child for child in children if child.alive):
                    child.signal(child.spec.stop_signal)
            time.sleep(0.03)
        for child in children:
            child.kill()

    def _tend(self, service: Service) -> None:
        self._show_alarms(service)
        now_s = time.monotonic()
        if service.child.alive:
            return
        if service.restart_at_s is None:
            lived_s = now_s - service.started_at_s
            service.deaths = 1 if lived_s > _LONG_LIFE_S else service.deaths + 1
            delay_s = min(30.0, 2.0 ** (service.deaths - 1))
            service.restart_at_s = now_s + delay_s
            self.say(
                f"{service.name} ended with status {service.child.returncode}; "
                f"starting it again in {delay_s:.0f} s (log: {service.child.spec.log})"
            )
        elif now_s >= service.restart_at_s:
            service.restart_at_s = None
            service.started_at_s = now_s
            service.child.kill()  # whatever its group left behind
            service.child.start()

    def _show_alarms(self, service: Service) -> None:
        size = _size(service)
        if size > _MAX_RUNNING_LOG_BYTES:
            os.truncate(service.child.spec.log, 0)
        if size <= service.log_position:
            service.log_position = min(size, service.log_position)
            return
        with service.child.spec.log.open("rb") as log:
            log.seek(service.log_position)
            text = log.read(1_000_000).decode(errors="replace")
            service.log_position = log.tell()
        alarms = [line for line in text.splitlines() if _ALARMING.search(line)]
        for line in alarms[:_MAX_LINES_PER_LOOK]:
            self.say(f"[{service.name}] {line[:300]}")

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1


def _size(service: Service) -> int:
    log = service.child.spec.log
    return log.stat().st_size if log.exists() else 0
