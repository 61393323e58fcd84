"""`report:generate`: a registered query as a CSV file in the storage folder, streamed row by row."""

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from django.conf import settings
from django.db import connection, transaction

from jobs.domain.errors import Misconfigured
from jobs.domain.outcomes import Discard, SkipRetry
from jobs.handlers import Context, task
from jobs.store import postgres

_CHUNK = 2_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Days(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a report looks back."""

    days: Annotated[int, msgspec.Meta(ge=1, le=3_650)] = 30


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    params: dict[str, Any] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A report that may be asked for: its statement in `store/sql` and the type of its parameters."""

    statement: str
    params: Any


_QUERIES: dict[str, Query] = {}


def register(name: str, *, statement: str, params: Any = Days) -> None:
    """Make a statement a report. Raises Misconfigured for a name taken twice."""
    if name in _QUERIES:
        raise Misconfigured(f"Report {name!r} is registered twice")
    _QUERIES[name] = Query(statement=statement, params=params)


def names() -> list[str]:
    """All registered reports, sorted."""
    return sorted(_QUERIES)


register("tasks_by_day", statement="report_tasks_by_day")
register("credits_by_account", statement="report_credits_by_account")
register("dead_letters", statement="report_dead_letters")


@task("report:generate", queue="low", timeout_s=900.0, scope="operate", reads=True)
def generate(payload: Report, context: Context) -> dict[str, object]:
    """Write `<name>-<task id>.csv`; a second run of the same task replaces its own file.

    Raises SkipRetry for an unknown report or parameters that don't fit it.
    """
    query = _QUERIES.get(payload.name)
    if query is None:
        raise SkipRetry(f"There is no report {payload.name!r}; known: {', '.join(names())}")
    try:
        params = msgspec.to_builtins(msgspec.convert(payload.params, query.params, strict=True))
    except msgspec.ValidationError as error:
        raise SkipRetry(f"The parameters do not fit report {payload.name}: {error}") from error
    folder = Path(settings.TASKCENTER["STORAGE_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{payload.name}-{context.task_id}.csv"
    rows = _write(target, query, params, context)
    context.log.info("report written", report=payload.name, rows=rows)
    return {"file": target.name, "rows": rows, "bytes": target.stat().st_size}


def _write(target: Path, query: Query, params: dict[str, Any], context: Context) -> int:
    """Write beside the target and move it there at the end: a reader never sees half a report."""
    part = target.with_suffix(f".{os.getpid()}.part")
    count = 0
    try:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for row in _stream(query, params):
                if count % _CHUNK == 0 and context.cancelled:
                    raise Discard("asked to stop")
                writer.writerow([safe(cell) for cell in row])
                count += 1
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return count - 1


def _stream(query: Query, params: dict[str, Any]) -> Iterator[Iterable[Any]]:
    """The header, then the rows, fetched in chunks through a server-side cursor."""
    with transaction.atomic(), connection.cursor() as settings_cursor:
        settings_cursor.execute("SET LOCAL statement_timeout = '600s'")
        with connection.chunked_cursor() as cursor:
            cursor.execute(postgres.statement(query.statement), params)
            yield [column[0] for column in cursor.description]
            while rows := cursor.fetchmany(_CHUNK):
                yield from rows


def safe(cell: Any) -> Any:
    """The cell as text that no spreadsheet takes for a formula."""
    if isinstance(cell, str) and cell.startswith(_FORMULA):
        return "'" + cell
    return cell
