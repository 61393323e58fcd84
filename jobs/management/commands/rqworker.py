"""`manage.py rqworker [queues…]`: one worker process."""

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.module_loading import import_string

from jobs.domain.errors import UnknownQueue
from jobs.worker import host, leash
from jobs.worker.engine import Engine, Options, new_name
from jobs.worker.rq_bridge import Worker


class Command(BaseCommand):
    requires_system_checks: list[str] = []
    help = "Runs a worker on the given queues (default: all of them)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "args", nargs="*", metavar="queue", help="queues to work on, default all"
        )
        parser.add_argument(
            "--concurrency", type=int, default=None, help="slots (ASYNQ_CONCURRENCY)"
        )
        parser.add_argument("--strict", action="store_true", help="always the highest weight first")
        parser.add_argument("--burst", action="store_true", help="end when nothing is left to do")
        parser.add_argument("--name", default=None, help="the worker's name")
        parser.add_argument("--pid", default=None, help="file to write the process id into")
        parser.add_argument("--worker-class", dest="worker_class", default=None)
        for ignored in (
            "--queue-class",
            "--job-class",
            "--serializer",
            "--sentry-dsn",
            "--sentry-ca-certs",
        ):
            parser.add_argument(ignored, default=None, help="accepted for django-rq's sake")
        for ignored in ("--worker-ttl", "--max-jobs", "--max-idle-time", "--sentry-debug"):
            parser.add_argument(
                ignored, type=int, default=None, help="accepted for django-rq's sake"
            )
        parser.add_argument(
            "--with-scheduler", action="store_true", help="accepted for django-rq's sake"
        )

    def handle(self, *queues: str, **options: Any) -> None:
        if parent := os.environ.pop("TASKCENTER_PARENT_PID", ""):
            leash.die_with_parent(int(parent))
        if options["pid"]:
            Path(options["pid"]).expanduser().write_text(str(os.getpid()))
        concurrency = options["concurrency"] or settings.ASYNQ_CONCURRENCY
        if concurrency < 1:
            raise CommandError("--concurrency must be at least 1")
        if settings.ASYNQ_MIGRATE_EXISTING:
            from jobs.operations.migration import migrate_if_asked  # no memory for it otherwise

            migrate_if_asked()
        try:
            status = _run(queues, concurrency, options)
        except UnknownQueue as error:
            raise CommandError(str(error)) from error
        host.leave(status)


def _run(queues: tuple[str, ...], concurrency: int, options: dict[str, Any]) -> int:
    name = options["name"] or new_name()
    if not settings.ASYNQ_POLLING_ENABLED:
        engine = Engine(
            Options(
                name=name,
                queues=queues,
                concurrency=concurrency,
                strict=options["strict"],
                burst=options["burst"],
                grace_s=float(settings.TASKCENTER["STOP_GRACE_S"]),
            )
        )
        return host.run_alone(engine)
    worker = _worker(queues, name, concurrency, options)
    worker.work(burst=options["burst"])
    return worker.engine.exit_code if worker.engine is not None else 0


def _worker(
    queues: tuple[str, ...], name: str, concurrency: int, options: dict[str, Any]
) -> Worker:
    import django_rq

    worker_class = import_string(options["worker_class"]) if options["worker_class"] else Worker
    if not issubclass(worker_class, Worker):
        worker_class = Worker  # RQ's own classes would run tickets without the engine
    connection = django_rq.get_connection("default")
    names = list(queues) or list(settings.RQ_QUEUES)
    made: Worker = worker_class(
        names, name, connection=connection, concurrency=concurrency, strict=options["strict"]
    )
    return made
