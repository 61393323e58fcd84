"""`manage.py rqscheduler -i 1`: makes the tasks of due schedules; any number of them may run."""

import os
import signal
import socket
import threading
import uuid
from argparse import ArgumentParser
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from jobs.operations import duties as operations
from jobs.worker import duties, host, rq_clock
from jobs.worker.rq_clock import Clock

log = structlog.get_logger("schedules")


class Command(BaseCommand):
    help = "Runs a scheduler for periodic tasks."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--interval", "-i", type=float, default=1.0, help="seconds between looks"
        )
        parser.add_argument("--pid", default=None, help="file to write the process id into")
        parser.add_argument("--queue", default="default", help="accepted for django-rq's sake")

    def handle(self, **options: Any) -> None:
        interval_s = float(options["interval"])
        if not 0.05 <= interval_s <= 3600:
            raise CommandError("--interval must be between 0.05 and 3600 seconds")
        if options["pid"]:
            Path(options["pid"]).expanduser().write_text(str(os.getpid()))
        if settings.ASYNQ_MIGRATE_EXISTING:
            from jobs.operations.migration import migrate_if_asked  # no memory for it otherwise

            migrate_if_asked()
        over = threading.Event()

        def stop(_signum: int, _frame: FrameType | None) -> None:
            over.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        name = f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:4]}"
        _serve(name, interval_s, over)
        host.leave(0)


def _serve(name: str, interval_s: float, over: threading.Event) -> None:
    clock = _clock(name, interval_s)
    leases = duties.Leases(f"scheduler-{name}", operations.SWEEPS)
    sweeps = threading.Thread(target=_sweep, args=(leases, over), name="sweeps", daemon=True)
    sweeps.start()
    log.info("scheduler started", scheduler=name, interval_s=interval_s, redis=clock is not None)
    rq_clock.run(interval_s, over.wait, *([clock.show] if clock is not None else []))
    if clock is not None:
        clock.leave()
    sweeps.join(3.0)
    log.info("scheduler stopped", scheduler=name)


def _sweep(leases: duties.Leases, over: threading.Event) -> None:
    """A scheduler is a candidate for the sweeps too, so that counters are folded while no worker runs."""
    work = duties.slow(leases, lambda: 0.0)
    while not over.wait(work.step(1.0)):
        pass
    leases.release()


def _clock(name: str, interval_s: float) -> Clock | None:
    if not settings.ASYNQ_POLLING_ENABLED:
        return None
    import django_rq

    connection = django_rq.get_connection("default")
    return Clock(connection=connection, interval=max(1, round(interval_s)), name=name)
