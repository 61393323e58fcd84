"""A migration that is killed, and many that start at once: each row is still migrated once."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from jobs.models import Task
from jobs.operations import credits
from jobs.operations.migration import lock, mapping, migrate_if_asked
from jobs.store import postgres
from tests.support.engine import balance
from tests.support.old_gateway import report_lines, row, sqlite_file
from tests.support.processes import Processes
from tests.support.wait import eventually

pytestmark = pytest.mark.usefixtures("engine")


def _migrate(source: str, tmp_path: Path, *args: str) -> None:
    call_command("migrate_tasks", "--source", source, "--report", str(tmp_path / "r"), *args)


@pytest.mark.req("G-01")
def test_a_migration_killed_in_the_middle_is_finished_by_running_it_again(
    tmp_path: Path, processes: Processes
) -> None:
    statuses = ("IN_PROGRESS", "SUCCESS", "")
    source = sqlite_file(
        tmp_path / "old.db", [row(n, status=statuses[n % 3]) for n in range(1, 3001)]
    )
    report = tmp_path / "report.jsonl"
    args = (
        "migrate_tasks",
        "--source",
        source,
        "--report",
        str(report),
        "--apply",
        "--batch",
        "20",
    )
    process = processes.manage(*args)
    eventually(lambda: _migrated() > 100, 30, every_s=0.005)
    process.kill()
    assert 100 < _migrated() < 2000
    assert not report.exists()
    processes.call(*args)
    lines = report_lines(report)
    assert [line["source_id"] for line in lines] == list(range(1, 3001))
    assert _migrated() == Task.objects.count() == 2000
    assert 100 < sum(line["reason"] == "already migrated" for line in lines) < 2000
    assert sum(line["refund"] for line in lines) == balance(7) == 1000 * 500
    assert credits.mismatches() == []


def _migrated() -> int:
    return int(postgres.query("SELECT count(*) FROM migrated_row")[0][0])


@pytest.mark.req("G-01")
def test_only_one_migration_runs_at_a_time(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "old.db", [row(1)])
    with lock.only_one() as mine:
        assert mine
        with pytest.raises(CommandError, match="Another process is migrating"):
            _migrate(source, tmp_path, "--apply")
        _migrate(source, tmp_path)  # a dry run harms nobody
    _migrate(source, tmp_path, "--apply")


_START = "from jobs.operations.migration import migrate_if_asked; migrate_if_asked()"


@pytest.mark.req("G-02")
def test_five_processes_started_at_once_migrate_once(tmp_path: Path, processes: Processes) -> None:
    source = sqlite_file(tmp_path / "old.db", [row(n) for n in range(1, 2001)])
    env = {"ASYNQ_MIGRATE_EXISTING": "true", "ASYNQ_MIGRATE_SOURCE": source}
    started = [processes.manage("shell", "-c", _START, env=env) for _ in range(5)]
    assert [process.wait(60) for process in started] == [0] * 5
    said = [line for process in started for line in process.output.splitlines() if "migrat" in line]
    assert sum("[migrate] finished" in line for line in said) == 1
    assert all("[migrate]" in line for line in said if "migrate" in line)
    others = ("another process is migrating", "was done at an earlier start")
    assert sum(any(words in line for words in others) for line in said) == 4
    assert _migrated() == Task.objects.count() == 2000


@pytest.mark.req("G-02")
def test_a_start_migrates_by_a_mapping_and_table_of_its_own(tmp_path: Path, settings: Any) -> None:
    old = tmp_path / "old.db"
    sqlite_file(old, [row(1), row(2)])
    with closing(sqlite3.connect(old)) as source:
        source.execute("ALTER TABLE tasks RENAME TO old_jobs")
        source.commit()
    shipped = Path(mapping.__file__).parent / "newapi.toml"
    mine = tmp_path / "mine.toml"
    mine.write_text(shipped.read_text().replace('name = "newapi"', 'name = "mine"', 1))
    settings.ASYNQ_MIGRATE_EXISTING, settings.ASYNQ_MIGRATE_SOURCE = True, f"sqlite://{old}"
    settings.ASYNQ_MIGRATE_MAPPING, settings.ASYNQ_MIGRATE_TABLE = str(mine), "old_jobs"
    settings.TASKCENTER = {**settings.TASKCENTER, "STORAGE_DIR": str(tmp_path)}
    assert migrate_if_asked() is not None
    assert _migrated() == 2
    assert len(report_lines(tmp_path / "migrate-mine-tasks.jsonl")) == 2


@pytest.mark.req("G-02")
def test_starting_asks_for_nothing_by_default(settings: Any) -> None:
    assert settings.ASYNQ_MIGRATE_EXISTING is False
    assert migrate_if_asked() is None


@pytest.mark.req("G-02")
@pytest.mark.parametrize("source", ["", "sqlite:///nowhere.db", "postgresql://x@127.0.0.1:1/x"])
def test_a_source_that_cannot_be_read_never_stops_a_start(
    source: str, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ASYNQ_MIGRATE_EXISTING, settings.ASYNQ_MIGRATE_SOURCE = True, source
    assert migrate_if_asked() is None
    assert any("[migrate]" in str(record.msg) for record in caplog.records)
