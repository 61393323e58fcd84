"""PostgreSQL: one file per statement in `sql/`, run on Django's own connection and transaction."""

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from django.db import InterfaceError, OperationalError, connection

Row = tuple[Any, ...]

_FOLDER = Path(__file__).parent / "sql"


@functools.cache
def statement(name: str) -> str:
    """The text of `sql/<name>.sql`."""
    return (_FOLDER / f"{name}.sql").read_text()


def fetch(name: str, params: dict[str, Any] | Sequence[Any] = ()) -> list[Row]:
    """Run the statement called `name` with server-side parameters and return all rows.

    Django's client-side cursors would send every array as SQL text; a plain psycopg cursor on the same
    connection sends parameters apart and prepares what it sees often. Raises django.db errors.
    """
    return _run(statement(name), params)


def query(sql: str, params: dict[str, Any] | Sequence[Any] = ()) -> list[Row]:
    """Like `fetch` for SQL composed by a selector from fixed parts."""
    return _run(sql, params)


def execute(name: str, params: dict[str, Any] | Sequence[Any] = ()) -> int:
    """Run the statement called `name` and return how many rows it touched."""
    connection.ensure_connection()
    with connection.wrap_database_errors, _cursor() as cursor:
        return cursor.execute(statement(name), params or None).rowcount


def is_away(error: Exception) -> bool:
    """Whether the server or the connection is gone, rather than the statement wrong."""
    if isinstance(error, InterfaceError):
        return True
    code = getattr(error.__cause__, "sqlstate", None)
    gone = code is None or code.startswith(("08", "57P"))
    return isinstance(error, OperationalError) and gone


def _run(sql: str, params: dict[str, Any] | Sequence[Any]) -> list[Row]:
    connection.ensure_connection()
    started_s = time.perf_counter()
    with connection.wrap_database_errors, _cursor() as cursor:
        rows = cursor.execute(sql, params or None).fetchall()
    if connection.queries_logged:
        took_s = time.perf_counter() - started_s
        connection.queries_log.append({"sql": sql, "time": f"{took_s:.3f}"})
    return rows


def _cursor() -> psycopg.Cursor[Row]:
    return psycopg.Cursor(connection.connection)
