"""One pass over a source: each row is read once, reported once, and migrated if it was not before.

A run that was killed is simply started again: rows that it had written are found by their keys and left alone.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog
from django.db import transaction

from jobs.domain import ids
from jobs.domain.errors import Conflict, Misconfigured
from jobs.models import MigrationRun, Platform
from jobs.operations import audits
from jobs.operations.migration import lock, writing
from jobs.operations.migration.duplicates import Seen
from jobs.operations.migration.mapping import Mapping
from jobs.operations.migration.report import ALREADY, Line, Report, Totals
from jobs.operations.migration.rows import Action, Fate, NewTask, Reader, Row
from jobs.operations.migration.sources import Page, Source, open_source

log = structlog.get_logger("migrate")

Progress = Callable[[int, int], None]
_MOVED = (Action.ENQUEUE, Action.FAIL_REFUND)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to migrate. Without `apply` nothing is written but the report. `once`: not if a run reached its end.

    `same_system`: rows of another source that were migrated under this mapping's name are rows of this one.
    """

    source: str
    mapping: Mapping
    report: Path
    table: str = "tasks"
    apply: bool = False
    not_started: bool = False
    batch: int = 1000
    once: bool = False
    same_system: bool = False
    actor: str = writing.ACTOR


@dataclass(frozen=True, kw_only=True)
class Summary:
    """`expected`: rows in the source when the run began. `warnings` are for a person to read."""

    totals: Totals
    expected: int
    source: str
    warnings: list[str] = field(default_factory=list)

    @property
    def adds_up(self) -> bool:
        return self.totals.rows == self.expected


def migrate(job: Job, progress: Progress = lambda done, total: None) -> Summary | None:
    """Read all rows, report each, and with `apply` migrate them; None if `once` and it is done already.

    Raises Misconfigured, Unavailable, Conflict (another process is migrating).
    """
    with lock.only_one() if job.apply else nullcontext(True) as mine:
        if not mine:
            raise Conflict("Another process is migrating")
        with open_source(job.source, job.table) as source:
            name = f"{job.mapping.name}:{job.table}@{source.mark}"
            if (
                job.once
                and MigrationRun.objects.filter(name=name, finished_at__isnull=False).exists()
            ):
                return None
            return _Pass(job, source, name).run(progress)


class _Pass:
    def __init__(self, job: Job, source: Source, name: str) -> None:
        self._job, self._source, self._name = job, source, name
        self._now = datetime.now(UTC)
        self._reader = Reader(job.mapping, job.table, now=self._now, not_started=job.not_started)
        self._known: dict[str, Platform] = {}
        self._totals = Totals()
        self._warnings: list[str] = []

    def run(self, progress: Progress) -> Summary:
        self._check_others()
        columns = self._columns()
        id_column = self._job.mapping.columns.id
        expected, upto = self._source.span(id_column)
        if self._job.apply:
            self._begin()
        with Report(self._job.report) as report, Seen() as seen:
            pages = (
                ()
                if upto is None
                else self._source.pages(id_column, columns, upto, self._job.batch)
            )
            for page in pages:
                for fate, line in self._page(page, seen):
                    self._totals.add(fate, line)
                    report.write(line)
                progress(self._totals.rows, expected)
            report.finish()
        summary = Summary(
            totals=self._totals,
            expected=expected,
            source=self._source.label,
            warnings=self._warnings,
        )
        if not summary.adds_up:
            self._warn(
                f"the source had {expected} rows at the beginning and {self._totals.rows} were read:"
                " rows were added or removed meanwhile; run again"
            )
        elif self._job.apply:
            self._end()
        return summary

    def _columns(self) -> dict[str, int]:
        own, there = self._job.mapping.columns, self._source.columns()
        needed = {own.id, own.platform, own.status}
        if not needed <= there:
            missing = ", ".join(sorted(needed - there))
            raise Misconfigured(
                f"{self._source.label}: table {self._job.table} has no column {missing}"
            )
        wanted = self._job.mapping.wanted()
        absent = sorted(wanted.keys() - there)
        if absent:
            self._warn(f"columns that the source lacks are read as NULL: {', '.join(absent)}")
        return {name: cap for name, cap in wanted.items() if name in there}

    def _page(self, page: Page, seen: Seen) -> list[tuple[Fate, Line]]:
        before = writing.done([self._reader.key(source_id) for source_id, _ in page])
        lines: list[tuple[Fate, Line]] = []
        new: list[NewTask] = []
        for source_id, values in page:
            row = Row(values)
            fate = self._reader.fate(row)
            earlier = before.get(self._reader.key(source_id))
            if earlier is None and fate.action not in _MOVED:
                line = Line(source_id=source_id, action=fate.action, reason=fate.reason)
            else:
                digest = self._reader.digest(row, fate.platform)
                first = source_id if digest is None else seen.first(digest, source_id)
                line = self._moved(source_id, row, fate, earlier, first, new)
            lines.append((fate, line))
        if new and self._job.apply:
            writing.write(new, self._known)
        return lines

    def _moved(
        self,
        source_id: int,
        row: Row,
        fate: Fate,
        earlier: writing.Done | None,
        first: int,
        new: list[NewTask],
    ) -> Line:
        if earlier is not None:
            public, refund = ids.public_id(earlier.task_id), earlier.refund
            action, reason = earlier.action, ALREADY
        elif first != source_id:
            reason = f"the same platform, channel and external id as row {first}"
            return Line(source_id=source_id, action=Action.SKIP_DUPLICATE, reason=reason)
        else:
            task = self._reader.task(source_id, row, fate)
            new.append(task)
            public, refund = ids.public_id(task.id), writing.refund_of(task)
            action, reason = task.action, task.reason
        return Line(
            source_id=source_id, action=action, reason=reason, task_id=public, refund=refund
        )

    def _check_others(self) -> None:
        """Equal ids under one name count as migrated: another system's would be left behind. Raises Misconfigured."""
        job = self._job
        prefix = f"{job.mapping.name}:{job.table}@"
        other = (
            MigrationRun.objects.filter(name__startswith=prefix).exclude(name=self._name).first()
        )
        if other is None or job.same_system:
            return
        words = (
            f"rows of {other.source} were migrated under the same name {job.mapping.name!r}: equal ids count as"
            " migrated. If this is another system, give its mapping another name; if it is the same one under"
            " another address, say so (--same-system)"
        )
        if job.apply:
            raise Misconfigured(words)
        self._warn(words)

    def _begin(self) -> None:
        self._known = writing.make_platforms(self._job.mapping)
        MigrationRun.objects.update_or_create(
            name=self._name,
            defaults={"source": self._source.label},
            create_defaults={"source": self._source.label, "started_at": self._now},
        )
        log.info("[migrate] begins", source=self._source.label, table=self._job.table)

    def _end(self) -> None:
        counts = self._totals.actions()
        with transaction.atomic():
            MigrationRun.objects.filter(name=self._name).update(
                finished_at=datetime.now(UTC), rows=self._totals.rows, counts=counts
            )
            if self._totals.moved:
                audits.record(
                    actor=self._job.actor,
                    action="migration.apply",
                    target=self._source.label,
                    after=counts,
                )
        log.info(
            "[migrate] finished", rows=self._totals.rows, refunded=self._totals.refunded, **counts
        )

    def _warn(self, words: str) -> None:
        self._warnings.append(words)
        log.warning(f"[migrate] {words}")
