"""Real `manage.py` processes against the test database, reaped whatever happens."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import httpx

from taskcenter.devstack import ports
from taskcenter.devstack.process import Child, Spec, StartFailed
from tests.support.wait import eventually

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Process:
    """A started process; `output` is all that it wrote so far, stdout and stderr together."""

    child: Child
    _read_from: int = 0

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def alive(self) -> bool:
        return self.child.alive

    @property
    def output(self) -> str:
        log = self.child.spec.log
        return log.read_text(errors="replace")[self._read_from :] if log.exists() else ""

    def wait_for(self, text: str, timeout_s: float = 20) -> str:
        """Wait until a line of the output contains `text` and return that line."""

        def found() -> str | None:
            lines = [line for line in self.output.splitlines() if text in line]
            if not lines and not self.alive:
                raise StartFailed(
                    f"ended ({self.child.returncode}) without {text!r}:\n{self.output}"
                )
            return lines[0] if lines else None

        try:
            line = eventually(found, timeout_s)
        except AssertionError:
            raise AssertionError(
                f"no line with {text!r} in {timeout_s} s:\n{self.output}"
            ) from None
        assert line is not None
        return line

    def signal(self, number: signal.Signals) -> None:
        """Signal the process itself (not its children)."""
        self.child.signal(number)

    def wait(self, timeout_s: float = 20) -> int:
        """Wait for its end and return the exit status; raises AssertionError when it lives on."""
        if not self.child.wait(timeout_s):
            raise AssertionError(f"still running after {timeout_s} s:\n{self.output}")
        return self.child.returncode or 0

    def kill(self) -> None:
        """SIGKILL to the whole process group."""
        self.child.kill()

    def stop(self, timeout_s: float = 20) -> int:
        """SIGTERM, and wait for the end."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)


@dataclass
class Processes:
    """Starts processes with `env` on top of the tests' environment; a context manager that reaps them."""

    env: Mapping[str, str] = field(default_factory=dict)
    _started: list[Process] = field(default_factory=list)
    _logs: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory)

    def manage(self, *args: str, env: Mapping[str, str] | None = None) -> Process:
        """Start `manage.py <args>` and return at once."""
        return self.run([sys.executable, "manage.py", *args], env=env)

    def run(self, argv: list[str], env: Mapping[str, str] | None = None) -> Process:
        """Start any program and return at once."""
        log = Path(self._logs.name) / f"{len(self._started)}.log"
        spec = Spec(
            name=argv[-1],
            argv=argv,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self.env, **(env or {})},
            log=log,
            cwd=ROOT,
        )
        process = Process(Child(spec))
        self._started.append(process)
        process.child.start()
        return process

    def call(self, *args: str, env: Mapping[str, str] | None = None, timeout_s: float = 60) -> str:
        """Run `manage.py <args>` to its end and return its stdout; raises CalledProcessError."""
        return subprocess.run(
            [sys.executable, "manage.py", *args],
            env={**os.environ, **self.env, **(env or {})},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=timeout_s,
        ).stdout

    def web(self, env: Mapping[str, str] | None = None) -> str:
        """Start granian on a free port and return its base URL when it answers."""
        port = ports.free_port()
        process = self.run(
            [
                *(sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws"),
                *("--port", str(port), "--blocking-threads", "4", "taskcenter.wsgi:application"),
            ],
            env=env,
        )
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            try:
                return httpx.get(f"{url}/healthz", timeout=2).status_code == 200
            except httpx.TransportError:
                return False

        process.child.wait_until(answers, 30)
        return url

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in reversed(self._started):
            process.kill()
        self._logs.cleanup()
