"""`manage.py rqworker-pool [queues…] --num-workers N`: N worker processes; one that dies is replaced."""

import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from types import FrameType
from typing import Any

import structlog
from django.core.management.base import BaseCommand, CommandError

log = structlog.get_logger("worker")

_LOOK_S = 0.2
_STEADY_S = 10.0
_LONGEST_S = 30.0


class Command(BaseCommand):
    requires_system_checks: list[str] = []
    help = "Runs several workers on the given queues and replaces those that die."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("args", nargs="*", metavar="queue")
        parser.add_argument("--num-workers", "-n", type=int, default=1)
        parser.add_argument("--concurrency", type=int, default=None)
        parser.add_argument("--strict", action="store_true")
        parser.add_argument("--burst", action="store_true")
        for ignored in ("--worker-class", "--queue-class", "--job-class", "--serializer", "--pid"):
            parser.add_argument(ignored, default=None, help="accepted for django-rq's sake")

    def handle(self, *queues: str, **options: Any) -> None:
        if options["num_workers"] < 1:
            raise CommandError("--num-workers must be at least 1")
        argv = [sys.executable, sys.argv[0], "rqworker", *queues]
        for name in ("strict", "burst"):
            argv += [f"--{name}"] if options[name] else []
        argv += ["--concurrency", str(options["concurrency"])] if options["concurrency"] else []
        Pool(argv, options["num_workers"], burst=options["burst"]).run()


class _Place:
    """One of the pool's places; quick deaths in a row are replaced later and later."""

    def __init__(self, argv: list[str]) -> None:
        self._argv = argv
        self._deaths = 0
        self._due_s = 0.0
        self._born_s = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def keep(self) -> None:
        """Start the process when there is none and it is time."""
        if self.process is None and time.monotonic() >= self._due_s:
            self._born_s = time.monotonic()
            env = {**os.environ, "TASKCENTER_PARENT_PID": str(os.getpid())}
            self.process = subprocess.Popen(self._argv, env=env)

    def look(self) -> int | None:
        """The exit status of a process that has just ended."""
        code = self.process.poll() if self.process is not None else None
        if code is None:
            return None
        self.process = None
        now_s = time.monotonic()
        self._deaths = 1 if now_s - self._born_s > _STEADY_S else self._deaths + 1
        self._due_s = now_s + min(_LONGEST_S, 0.25 * 2**self._deaths)
        return code


class Pool:
    """Signals are passed on; the pool ends when all its workers have."""

    def __init__(self, argv: list[str], count: int, *, burst: bool) -> None:
        self._places = [_Place(argv) for _ in range(count)]
        self._burst = burst
        self._stopping = False

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGTSTP, lambda _n, _f: self._tell(signal.SIGTSTP))
        started = False
        while True:
            for place in self._places:
                if not self._stopping and not (started and self._burst):
                    place.keep()
                code = place.look()
                if code is not None and not self._stopping and not self._burst:
                    log.warning("worker ended; it will be replaced", exit_status=code)
            started = True
            if (self._stopping or self._burst) and all(p.process is None for p in self._places):
                return
            time.sleep(_LOOK_S)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True
        self._tell(signal.SIGTERM)

    def _tell(self, number: signal.Signals) -> None:
        for place in self._places:
            if place.process is not None and place.process.poll() is None:
                place.process.send_signal(number)
