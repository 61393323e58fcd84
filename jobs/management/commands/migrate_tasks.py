"""`manage.py migrate_tasks`: unfinished tasks of an older system's table become tasks here."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from jobs.domain.errors import TaskCenterError
from jobs.management import cli
from jobs.operations.migration import Job, load, migrate
from jobs.operations.migration.run import Summary


class Command(BaseCommand):
    help = "Migrate unfinished tasks of another system. Without --apply nothing changes (dry run)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--source", required=True, help="postgresql://, mysql:// or sqlite:/// URL"
        )
        parser.add_argument("--table", default="tasks")
        parser.add_argument(
            "--mapping", default="newapi", help="newapi, or a .toml file of your own"
        )
        parser.add_argument(
            "--report", required=True, type=Path, help="JSON lines, one per source row"
        )
        parser.add_argument("--apply", action="store_true", help="really migrate")
        parser.add_argument("--include-not-started", action="store_true")
        parser.add_argument(
            "--same-system",
            action="store_true",
            help="what was migrated under this mapping's name from another address is this system's",
        )
        parser.add_argument("--batch", type=int, default=1000, help="rows per page (1 to 10000)")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["batch"] <= 10_000:
            raise CommandError("--batch is between 1 and 10000")
        try:
            if options["apply"]:
                cli.refuse_if_readonly("migration.apply")
            job = Job(
                source=options["source"],
                mapping=load(options["mapping"]),
                report=options["report"],
                table=options["table"],
                apply=options["apply"],
                not_started=options["include_not_started"],
                batch=options["batch"],
                same_system=options["same_system"],
                actor=cli.actor(),
            )
            summary = self._run(job)
        except TaskCenterError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"The report cannot be written: {error}") from error
        self._show(summary, job)
        if not summary.adds_up:
            raise CommandError("The report does not account for every row of the source; run again")

    def _run(self, job: Job) -> Summary:
        bar = Progress(
            TextColumn("migrate" if job.apply else "migrate (dry run)"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        work = bar.add_task("rows", total=None)

        def tell(done: int, total: int) -> None:
            bar.start()  # not before there is something to tell: an error stands alone
            bar.update(work, completed=done, total=total)

        try:
            summary = migrate(job, tell)
        finally:
            if bar.live.is_started:
                bar.stop()
        if summary is None:
            raise CommandError("This source was migrated before")
        return summary

    def _show(self, summary: Summary, job: Job) -> None:
        totals = summary.totals
        table = Table(
            "platform", "status", "action", "rows", title=f"{summary.source}, table {job.table}"
        )
        for (platform, status, action), rows in sorted(totals.groups.items()):
            table.add_row(Text(platform or '""'), Text(status or '""'), action, f"{rows:,}")
        out = self.stdout
        console = Console(file=out, width=None if out.isatty() else 100)  # type: ignore[arg-type]
        console.print(table)
        console.print(
            f"{totals.rows:,} of {summary.expected:,} rows; refunds {totals.refunds:,}"
            f" of {totals.refunded:,} credits; already migrated {totals.already:,}",
            markup=False,
        )
        for warning in summary.warnings:
            console.print(f"Warning: {warning}", markup=False)
        console.print("Migrated." if job.apply else "Dry run: nothing was changed. Add --apply.")
