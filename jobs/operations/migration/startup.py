"""Migrating at the start of a process (ASYNQ_MIGRATE_EXISTING): once, however many start."""

import time
from pathlib import Path

import structlog
from django.conf import settings

from jobs.domain.errors import Conflict
from jobs.operations.migration.mapping import load
from jobs.operations.migration.run import Job, Summary, migrate

log = structlog.get_logger("migrate")

_SAY_EVERY_S = 10.0


def migrate_if_asked() -> Summary | None:
    """Migrate what ASYNQ_MIGRATE_SOURCE names, unless that was done or another process is at it.

    Never raises: a source that cannot be read is logged, and the next start tries again.
    """
    if not settings.ASYNQ_MIGRATE_EXISTING:
        return None
    if settings.ASYNQ_READONLY:
        log.warning("[migrate] nothing is migrated: changes are switched off (ASYNQ_READONLY)")
        return None
    if not settings.ASYNQ_MIGRATE_SOURCE:
        log.error(
            "[migrate] ASYNQ_MIGRATE_EXISTING=true needs ASYNQ_MIGRATE_SOURCE; nothing is migrated"
        )
        return None
    try:
        folder = Path(settings.TASKCENTER["STORAGE_DIR"])
        folder.mkdir(parents=True, exist_ok=True)
        mapping = load(settings.ASYNQ_MIGRATE_MAPPING)
        report = folder / f"migrate-{mapping.name}-tasks.jsonl"
        job = Job(
            source=settings.ASYNQ_MIGRATE_SOURCE,
            mapping=mapping,
            table=settings.ASYNQ_MIGRATE_TABLE,
            report=report,
            apply=True,
            once=True,
        )
        summary = migrate(job, _Said())
    except Conflict:
        log.info("[migrate] another process is migrating")
        return None
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        log.error("[migrate] failed; the next start tries again", error=words)
        return None
    if summary is None:
        log.info("[migrate] was done at an earlier start, nothing to do")
    else:
        log.info("[migrate] report", file=str(report), rows=summary.totals.rows)
    return summary


class _Said:
    """Progress as a log line now and then."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._last_s >= _SAY_EVERY_S:
            self._last_s = time.monotonic()
            log.info("[migrate] progress", done=done, total=total)
