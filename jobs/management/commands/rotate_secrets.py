"""`manage.py rotate_secrets`: after a new first key, everything sealed gets under it."""

from argparse import ArgumentParser
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from jobs.domain.errors import Forbidden
from jobs.management import cli, tables
from jobs.operations import audits, rotation
from jobs.operations.rotation import Report
from jobs.store import sealed

_DOCUMENTS = ("task_info.", "task_run.", "platform_task.", "schedule.")
_COLUMNS = ("place", "rows", "changed", "busy", "unreadable", "left")


class Command(BaseCommand):
    help = (
        "Seal credentials, payloads, results and stored answers anew with the first key of TASKCENTER_SECRET_KEYS; "
        "payloads become sealed or plain as TASKCENTER_ENCRYPT_PAYLOADS says. Safe to repeat and to interrupt."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count, change nothing")
        parser.add_argument(
            "--open",
            action="store_true",
            help="with TASKCENTER_ENCRYPT_PAYLOADS off: store in the clear what is sealed",
        )
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if not options["dry_run"]:
                cli.refuse_if_readonly("secrets.rotate")
            if not (options["open"] or options["dry_run"] or sealed.is_on()):
                self._refuse_to_open()
            reports = list(rotation.rotate(apply=not options["dry_run"], told=self._tell))
        except Forbidden as error:
            raise CommandError(cli.one_line(error)) from error
        except DatabaseError as error:
            raise CommandError(f"PostgreSQL: {cli.one_line(error)}; run it again") from error
        if not options["dry_run"]:
            audits.record(
                actor=cli.actor(),
                action="secrets.rotate",
                after={r.place: r.changed for r in reports},
            )
        self._show(reports, options)
        if not all(report.is_done for report in reports):
            raise CommandError("Not everything is under the first key yet; keep the others")

    def _refuse_to_open(self) -> None:
        """A shell without the servers' setting must not undo their encryption. Raises CommandError."""
        counted = rotation.rotate(apply=False, told=self._tell)
        count = sum(r.changed for r in counted if r.place.startswith(_DOCUMENTS))
        if count:
            raise CommandError(
                f"TASKCENTER_ENCRYPT_PAYLOADS is off here, and {count:,} documents are sealed: they would be "
                "stored in the clear. Set it as the servers have it, or say --open"
            )

    def _tell(self, report: Report) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"{report.place}: {report.rows:,} rows read", ending="\r")

    def _show(self, reports: list[Report], options: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(msgspec.json.format(msgspec.json.encode(reports), indent=2).decode())
            return
        title = "Dry run: nothing was changed" if options["dry_run"] else "Sealed anew"
        rows = [[getattr(report, name) for name in _COLUMNS] for report in reports]
        lost = [
            f"{r.place}: no present key opens {', '.join(r.examples)}"
            for r in reports
            if r.examples
        ]
        tables.show(self.stdout, tables.table(title, _COLUMNS, rows), *lost)
