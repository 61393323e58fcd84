"""One child process: its own process group, its log file, and an end that leaves nothing behind."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_MAX_LOG_BYTES = 10 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class StartFailed(RuntimeError):
    """A server did not come up; the message is one line for people."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What to start. `uid`/`gid`: run as somebody else; `stop_signal` is sent to the process alone."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 10.0
    uid: int | None = None
    gid: int | None = None


@dataclass
class Child:
    """A running (or not running) `Spec`."""

    spec: Spec
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def returncode(self) -> int | None:
        return self._process.poll() if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it with output appended to its log; it gets the stop signal when we die (Linux)."""
        spec = self.spec
        spec.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if spec.log.exists() and spec.log.stat().st_size > _MAX_LOG_BYTES:
            spec.log.write_bytes(b"")
        with spec.log.open("ab") as log:
            self._process = subprocess.Popen(
                list(spec.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=spec.cwd,
                env=dict(spec.env),
                start_new_session=True,
                user=spec.uid,
                group=spec.gid,
                extra_groups=None if spec.uid is None else [],
                preexec_fn=die_with_parent(spec.stop_signal),
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself, not to its children."""
        if self._process is not None:
            self._process.send_signal(number)

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `ready()`; raises StartFailed when the process ends or the time is over."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.alive:
                raise StartFailed(
                    f"{self.spec.name} ended with status {self.returncode} while starting: "
                    f"{last_line(self.spec.log)} (see {self.spec.log})"
                )
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{self.spec.name} did not answer within {timeout_s:.0f} s (see {self.spec.log})"
                )
            time.sleep(0.03)

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended within that time."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL to the whole group, and reap."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self, grace_s: float | None = None) -> None:
        """Stop signal, then SIGKILL to the group when the grace is over. Nothing survives."""
        if self.alive:
            self.signal(self.spec.stop_signal)
            self.wait(self.spec.grace_s if grace_s is None else grace_s)
        self.kill()


def die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` that has the kernel send `number` when the parent dies; None where it can't."""
    if _LIBC is None:
        return None
    parent = os.getpid()
    prctl = _LIBC.prctl

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)

    return arm


def last_line(log: Path) -> str:
    """The last line of a log that is not blank, for one-line messages."""
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")
