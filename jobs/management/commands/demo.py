"""`manage.py demo`: servers that stand in for other people's systems, and real work for them."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils.module_loading import import_string


class Command(BaseCommand):
    help = "Run the demo until SIGTERM (after bootstrap_demo): mail sink, callback receiver, platform stub, work."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--every", type=float, default=1.0, metavar="SECONDS", help="time between two tasks"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        # By name: where the center runs is unknown down here.
        import_string("taskcenter.demo.run.main")(every_s=max(0.05, options["every"]))
