"""`data:sync`: a table of a real PostgreSQL, MySQL or SQLite is copied by watermark, piece by piece."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pytest_django import Settings

from jobs.builtin import data_sync
from jobs.builtin.data_sync import Sync
from jobs.domain.errors import DuplicateTask, Invalid, Unavailable
from jobs.domain.outcomes import Poll, SkipRetry
from jobs.handlers import Context
from jobs.models import SyncedRow, SyncPosition
from jobs.operations import sync_sources, syncing
from jobs.operations.migration import sources
from jobs.operations.tasks import submit
from jobs.store import postgres
from tests.support import api, mysql
from tests.support.engine import row
from tests.support.processes import Processes
from tests.support.wait import eventually

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.req("S-09")]

Execute = Callable[..., Any]
_COLUMNS = {
    "postgresql": "id bigint PRIMARY KEY, changed timestamptz, name text, total numeric(10,2), doc jsonb, raw bytea",
    "mysql": "id bigint PRIMARY KEY, changed timestamp(6) NULL, name text, total decimal(10,2),doc json, raw blob",
    "sqlite": "id INTEGER PRIMARY KEY, changed TEXT, name TEXT, total REAL, doc TEXT, raw BLOB",
}


def context(**facts: Any) -> Context:
    given = {"task_id": "task_S", "type": "x", "queue": "q", "attempt": 1, "retried": 0}
    return Context(**{**given, **facts})


@pytest.fixture(scope="session")
def mysql_url() -> Iterator[str]:
    lacks = mysql.missing()
    if lacks:
        pytest.skip(lacks)
    with mysql.server() as url:
        yield url


@pytest.fixture
def postgres_url() -> Iterator[str]:
    base = os.environ["DATABASE_URL"].rpartition("/")[0]
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS elsewhere")
        admin.execute("CREATE DATABASE elsewhere")
        yield f"{base}/elsewhere"
        admin.execute("DROP DATABASE elsewhere WITH (FORCE)")


@pytest.fixture(params=["postgresql", "mysql", "sqlite"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Execute]]:
    """(URL, a function that runs a statement over there)."""
    kind: str = request.param
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path}/other.db"
        link: Any = sqlite3.connect(tmp_path / "other.db", isolation_level=None)
    elif kind == "mysql":
        url = request.getfixturevalue("mysql_url")
        link = mysql.connect(url)
        link.autocommit(True)
        link.cursor().execute("DROP TABLE IF EXISTS orders")
        link.cursor().execute("SET time_zone = '+05:30'")
    else:
        url = request.getfixturevalue("postgres_url")
        link = psycopg.connect(url, autocommit=True)
        link.execute("SET TIME ZONE 'Asia/Kolkata'")

    def execute(sql: str, *params: Any) -> Any:
        cursor = link.cursor()
        cursor.execute(sql.replace("%s", "?") if kind == "sqlite" else sql, params)
        return cursor

    execute(f"CREATE TABLE orders ({_COLUMNS[kind]})")
    yield url, execute
    link.close()


Describe = Callable[..., None]


@pytest.fixture
def describe(tmp_path: Path, settings: Settings) -> Describe:
    def write(url: str, **more: Any) -> None:
        given = {"url": url, "table": "orders", "key": "id", "watermark": "changed", **more}
        lines = [f"{name} = {value!r}" for name, value in given.items()]
        path = tmp_path / f"sources-{len(list(tmp_path.iterdir()))}.toml"
        path.write_text("\n".join(["[orders]", *lines]))
        settings.TASKCENTER = {**settings.TASKCENTER, "SYNC_SOURCES": str(path)}

    return write


def put(execute: Execute, id_: int, at: str, name: str = "n") -> None:
    execute("DELETE FROM orders WHERE id = %s", id_)
    execute(
        "INSERT INTO orders (id, changed, name, total, doc, raw) VALUES (%s, %s, %s, %s, %s, %s)",
        *(id_, at, name, 1.5, '{"a": [1]}', b"\xff\x00"),
    )


def copied() -> dict[str, str]:
    return {r.key: r.data["name"] for r in SyncedRow.objects.filter(source="orders")}


def at(second: int) -> str:
    return f"2026-11-01 10:00:{second:02d}.123456"


def test_a_table_is_copied_whole_then_what_is_new_or_changed(
    other: tuple[str, Execute], describe: Describe
) -> None:
    url, execute = other
    describe(url, batch=2)
    for n in range(1, 6):
        put(execute, n, at(n // 2), f"字{n}")  # several rows share a watermark
    assert data_sync.sync(Sync(source="orders"), context()) == {"rows": 5, "changed": 5}
    assert copied() == {str(n): f"字{n}" for n in range(1, 6)}
    first = SyncedRow.objects.get(key="1").data
    assert (first["id"], float(first["total"]), first["raw"]) == (1, 1.5, {"base64": "/wA="})
    assert first["doc"] in ({"a": [1]}, '{"a": [1]}')
    put(execute, 2, at(7), "changed")
    put(execute, 9, at(8), "new")
    assert data_sync.sync(Sync(source="orders"), context()) == {"rows": 2, "changed": 2}
    assert copied()["2"] == "changed"
    assert copied()["9"] == "new"
    assert data_sync.sync(Sync(source="orders"), context()) == {"rows": 0, "changed": 0}
    assert SyncPosition.objects.get().rows == 7


def test_a_row_that_was_committed_late_is_found_in_the_overlap(
    other: tuple[str, Execute], describe: Describe
) -> None:
    url, execute = other
    describe(url, overlap=5)
    put(execute, 1, at(10))
    data_sync.sync(Sync(source="orders"), context())
    put(execute, 2, at(8), "late")
    put(execute, 3, at(1), "too late")
    done = data_sync.sync(Sync(source="orders"), context())
    assert done == {"rows": 2, "changed": 1}
    assert set(copied()) == {"1", "2"}


def test_a_large_table_is_copied_in_several_runs(
    other: tuple[str, Execute], describe: Describe
) -> None:
    url, execute = other
    describe(url, batch=2, columns=["name"])
    for n in range(7):
        put(execute, n, at(n))
    payload, runs = Sync(source="orders", max_batches=1), 0
    while runs < 10:
        runs += 1
        try:
            data_sync.sync(payload, context())
            break
        except Poll:
            continue
    assert runs == 4
    assert copied().keys() == {str(n) for n in range(7)}
    assert SyncedRow.objects.get(key="3").data == {"name": "n"}


@pytest.fixture
def small(tmp_path: Path, describe: Describe) -> Execute:
    """A SQLite source of five rows, in pieces of two."""
    link = sqlite3.connect(tmp_path / "small.db", isolation_level=None)
    link.execute(f"CREATE TABLE orders ({_COLUMNS['sqlite']})")

    def execute(sql: str, *params: Any) -> Any:
        return link.execute(sql.replace("%s", "?"), params)

    for n in range(5):
        put(execute, n, at(n))
    describe(f"sqlite:///{tmp_path}/small.db", batch=2)
    return execute


@pytest.mark.req("P-03")
def test_a_crash_between_reading_and_writing_repeats_one_piece_and_doubles_nothing(
    small: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = syncing._write, 0

    def dies(*args: Any) -> int | None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return write(*args)

    monkeypatch.setattr(syncing, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        data_sync.sync(Sync(source="orders"), context())
    assert len(copied()) == 2
    assert data_sync.sync(Sync(source="orders"), context()) == {"rows": 3, "changed": 3}
    assert len(copied()) == 5
    assert SyncPosition.objects.get().rows == 5


def test_a_run_that_was_overtaken_writes_nothing_old(
    small: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it holds a piece that it has read, another run copies a newer state of the same rows."""
    changed, is_first = sources.Source.changed, True

    def slow(self: sources.Source, *args: Any) -> Any:
        nonlocal is_first
        found = changed(self, *args)
        if is_first:
            is_first = False
            put(small, 0, at(0), "newer")
            data_sync.sync(Sync(source="orders"), context())
        return found

    monkeypatch.setattr(sources.Source, "changed", slow)
    data_sync.sync(Sync(source="orders"), context())
    assert copied()["0"] == "newer"
    assert SyncPosition.objects.get().rows == 5


def test_a_row_too_large_is_named_and_stops_the_copy(small: Execute) -> None:
    put(small, 3, at(3), "x" * (syncing.MOST_ROW_BYTES + 1))
    with pytest.raises(SkipRetry, match="Row 3 of orders"):
        data_sync.sync(Sync(source="orders"), context())
    assert set(copied()) == {"0", "1"}


def test_rows_without_a_watermark_are_left_out(small: Execute) -> None:
    small("UPDATE orders SET changed = NULL WHERE id = 1")
    data_sync.sync(Sync(source="orders"), context())
    assert "1" not in copied()


def test_a_source_that_is_away_is_tried_again(describe: Describe) -> None:
    describe("postgresql://nobody@127.0.0.1:9/none")
    with pytest.raises(Unavailable):
        data_sync.sync(Sync(source="orders"), context())


@pytest.mark.req("T-05")
def test_an_unknown_source_is_refused_at_submit_and_a_plain_key_does_not_sync(
    small: Execute,
) -> None:
    api.forget()
    answer = api.client("submit", "operate").post(
        "/tasks", {"type": "data:sync", "payload": {"source": "elsewhere"}}
    )
    details = api.error(answer, 422)["details"]
    assert details == {"field": "source", "name": "elsewhere", "known": ["orders"]}
    body = {"type": "data:sync", "payload": {"source": "orders"}}
    api.error(api.client("submit").post("/tasks", body), 403)
    with pytest.raises(SkipRetry):
        data_sync.sync(Sync(source="elsewhere"), context())


def test_an_address_may_stand_in_the_environment(
    describe: Describe, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe("", url_env="ORDERS_URL")
    with pytest.raises(SkipRetry, match="ORDERS_URL"):
        data_sync.sync(Sync(source="orders"), context())
    monkeypatch.setenv("ORDERS_URL", "sqlite:///elsewhere.db")
    assert sync_sources.named("orders").address() == "sqlite:///elsewhere.db"


def test_one_sync_of_a_source_waits_or_runs_at_a_time(small: Execute) -> None:
    submit("data:sync", {"source": "orders"})
    with pytest.raises(DuplicateTask):
        submit("data:sync", {"source": "orders"})
    with pytest.raises(Invalid):
        submit("data:sync", {"source": "elsewhere"})


def test_a_real_worker_copies_in_as_many_runs_as_it_takes(
    small: Execute, processes: Processes, settings: Settings
) -> None:
    made = submit("data:sync", {"source": "orders", "max_batches": 1})
    path = settings.TASKCENTER["SYNC_SOURCES"]
    processes.manage("rqworker", env={"TASKCENTER_SYNC_SOURCES": path})
    eventually(lambda: row(made.id, "status") == 4, timeout_s=30)
    assert len(copied()) == 5
    assert row(made.id, "runs") == 3
    assert postgres.query("SELECT count(*) FROM unique_lock") == [(0,)]
