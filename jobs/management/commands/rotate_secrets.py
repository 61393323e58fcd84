"""`manage.py rotate_secrets`: after a new first key, everything sealed gets under it."""

from argparse import ArgumentParser
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from jobs.management import cli, tables
from jobs.operations import audits, rotation
from jobs.operations.rotation import Report

_COLUMNS = ("place", "rows", "changed", "busy", "unreadable")


class Command(BaseCommand):
    help = (
        "Seal credentials, payloads, results and stored answers anew with the first key of TASKCENTER_SECRET_KEYS; "
        "payloads become sealed or plain as TASKCENTER_ENCRYPT_PAYLOADS says. Safe to repeat and to interrupt."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count, change nothing")
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            reports = list(rotation.rotate(apply=not options["dry_run"], told=self._tell))
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
