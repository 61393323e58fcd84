"""The same rows from PostgreSQL, MySQL and SQLite have the same fate."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from jobs.domain.errors import Unavailable
from jobs.models import Task
from jobs.operations.migration.sources import open_source
from tests.support import mysql, old_gateway
from tests.support.old_gateway import COLUMNS, nasty, report_lines, row

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.req("G-01")]

_TYPES = {
    **dict.fromkeys(
        ("id", "created_at", "updated_at", "submit_time", "start_time", "finish_time"), "bigint"
    ),
    **dict.fromkeys(("user_id", "channel_id", "quota"), "int"),
    **{"task_id": "varchar(191)", "platform": "varchar(30)", "group": "varchar(50)"},
    **{"action": "varchar(40)", "status": "varchar(20)", "progress": "varchar(20)"},
}


def _fill(cursor: Any, quote: str, json_type: str) -> None:
    types = {name: _TYPES.get(name, json_type) for name in COLUMNS} | {"fail_reason": "text"}
    columns = ", ".join(f"{quote}{name}{quote} {kind}" for name, kind in types.items())
    cursor.execute(f"CREATE TABLE tasks ({columns}, PRIMARY KEY (id))")
    marks = ", ".join(["%s"] * len(COLUMNS))
    rows = [[given[name] for name in COLUMNS] for given in _rows()]
    cursor.executemany(f"INSERT INTO tasks VALUES ({marks})", rows)


def _rows() -> list[dict[str, Any]]:
    """The nasty rows but for broken JSON, which a JSON column refuses."""
    whole = {"private_data": "{}", "data": "[]", "properties": "null"}
    return [given if given["id"] != 14 else {**given, **whole} for given, _ in nasty()]


@pytest.fixture
def postgres_source() -> Iterator[str]:
    base = os.environ["DATABASE_URL"].rpartition("/")[0]
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS old_gateway")
        admin.execute("CREATE DATABASE old_gateway")
        with psycopg.connect(f"{base}/old_gateway") as link:
            _fill(link.cursor(), '"', "json")
        yield f"{base}/old_gateway"
        admin.execute("DROP DATABASE old_gateway WITH (FORCE)")


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[str]:
    lacks = mysql.missing()
    if lacks:
        pytest.skip(lacks)
    with mysql.server() as url:
        yield url


@pytest.fixture
def mysql_source(mysql_server: str) -> str:
    with mysql.connect(mysql_server) as link:
        link.cursor().execute("DROP TABLE IF EXISTS tasks")
        _fill(link.cursor(), "`", "longblob")
        link.commit()
    return mysql_server


def _migrate(source: str, report: Path, *args: str) -> list[dict[str, Any]]:
    call_command("migrate_tasks", "--source", source, "--report", str(report), *args)
    return report_lines(report)


def _as_from_sqlite(tmp_path: Path) -> list[dict[str, Any]]:
    url = old_gateway.sqlite_file(tmp_path / "same.db", _rows())
    return _migrate(url, tmp_path / "same.jsonl")


def test_a_postgresql_source_gives_the_same_report_as_a_file(
    postgres_source: str, tmp_path: Path
) -> None:
    expected = _as_from_sqlite(tmp_path)
    assert _migrate(postgres_source, tmp_path / "r", "--batch", "7") == expected
    assert _migrate(postgres_source, tmp_path / "r", "--apply", "--batch", "7") == expected
    assert Task.objects.count() == sum(line["task_id"] is not None for line in expected)


def test_a_mysql_source_gives_the_same_report_as_a_file(mysql_source: str, tmp_path: Path) -> None:
    expected = _as_from_sqlite(tmp_path)
    assert _migrate(mysql_source, tmp_path / "r", "--batch", "7") == expected
    assert _migrate(mysql_source, tmp_path / "r", "--apply", "--batch", "7") == expected
    assert Task.objects.count() == sum(line["task_id"] is not None for line in expected)


def test_a_postgresql_source_without_an_encoding_may_hold_any_bytes(tmp_path: Path) -> None:
    base = os.environ["DATABASE_URL"].rpartition("/")[0]
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS old_bytes")
        admin.execute(
            "CREATE DATABASE old_bytes TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'"
        )
        try:
            with psycopg.connect(f"{base}/old_bytes") as link:
                link.execute(
                    "CREATE TABLE tasks (id int PRIMARY KEY, platform text, status text, task_id text)"
                )
                link.execute(r"INSERT INTO tasks VALUES (1, '50', 'QUEUED', E'\xff\xfe')")
            [line] = _migrate(f"{base}/old_bytes", tmp_path / "r", "--apply")
        finally:
            admin.execute("DROP DATABASE old_bytes WITH (FORCE)")
    assert line["action"] == "enqueue"
    assert "task_id: bytes that are no UTF-8 replaced" in line["reason"]


def test_the_source_is_never_written_to(postgres_source: str) -> None:
    with (
        open_source(postgres_source, "tasks") as source,
        pytest.raises(Unavailable, match="read-only"),
    ):
        source._execute("DELETE FROM tasks")


def test_a_table_under_another_name_and_with_other_columns_needs_a_mapping(tmp_path: Path) -> None:
    url = old_gateway.sqlite_file(tmp_path / "old.db", [row(1)])
    with pytest.raises(CommandError, match="refused a query"):
        _migrate(url, tmp_path / "r", "--table", "jobs")
    with pytest.raises(CommandError, match="no name of a table"):
        _migrate(url, tmp_path / "r", "--table", "tasks; DROP TABLE tasks")
    mapping = tmp_path / "own.toml"
    mapping.write_text(
        'name = "own"\nexternal_id = ["task_id"]\n[columns]\nid = "id"\nplatform = "group"\nstatus = "status"\n'
        '[statuses]\nIN_PROGRESS = "IN_PROGRESS"\n[platforms]\nvip = "very-important"\n'
    )
    [line] = _migrate(url, tmp_path / "r", "--mapping", str(mapping), "--apply")
    assert line["action"] == "enqueue"
    mapping.write_text(mapping.read_text().replace('status = "status"', 'status = "state"'))
    with pytest.raises(CommandError, match="has no column state"):
        _migrate(url, tmp_path / "r", "--mapping", str(mapping))
