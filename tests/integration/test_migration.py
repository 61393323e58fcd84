"""Migrating from a SQLite file: every row once, whatever happens in between."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from jobs.domain import ids
from jobs.domain.errors import Conflict, TaskNotFound
from jobs.management import cli
from jobs.models import AuditEntry, MigrationRun, Platform, PlatformTask, Task, TaskInfo
from jobs.operations import actions, credits, duties
from jobs.operations.migration import writing
from jobs.operations.migration.report import ALREADY
from jobs.selectors import aliases
from jobs.store import postgres
from tests.support.engine import balance, entries
from tests.support.old_gateway import (
    HOUR_AGO,
    KEY,
    nasty,
    only_sqlite,
    report_lines,
    row,
    sqlite_file,
)

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.req("G-01")]

WANTED = [*nasty(), *only_sqlite()]
CHARGE, REFUND, ADJUSTMENT = 2, 3, 4


@pytest.fixture
def source(tmp_path: Path) -> str:
    return sqlite_file(tmp_path / "old.db", [given for given, _ in WANTED])


def _migrate(source: str, *args: str) -> list[dict[str, Any]]:
    report = Path(source.removeprefix("sqlite://")).with_name("report.jsonl")
    call_command("migrate_tasks", "--source", source, "--report", str(report), *args)
    return report_lines(report)


def _state() -> dict[str, Any]:
    """Everything that money and tasks are, to compare before and after."""
    tables = (
        "task",
        "task_info",
        "platform_task",
        "credit_entry",
        "account",
        "task_run",
        "migrated_row",
    )
    return {
        name: postgres.query(f"SELECT md5(string_agg(x::text, '|' ORDER BY x::text)) FROM {name} x")
        for name in tables
    }


def _task_of(lines: list[dict[str, Any]], source_id: int) -> UUID:
    [line] = [line for line in lines if line["source_id"] == source_id]
    return ids.parse_id(line["task_id"])


def test_each_row_is_reported_once_with_the_action_it_deserves(source: str) -> None:
    lines = _migrate(source, "--apply")
    assert [(line["source_id"], line["action"]) for line in lines] == [
        (given["id"], action) for given, action in WANTED
    ]
    assert all(
        set(line) == {"source_id", "action", "reason", "task_id", "refund"} for line in lines
    )
    moved = [line for line in lines if line["action"] in ("enqueue", "fail_refund")]
    assert Task.objects.count() == TaskInfo.objects.count() == len(moved)
    assert all(line["task_id"] is None for line in lines if line not in moved)


def test_a_dry_run_reports_the_same_and_changes_nothing(source: str) -> None:
    before = _state()
    dry = _migrate(source)
    assert _state() == before
    assert not Platform.objects.filter(name="kling").exists()
    assert dry == _migrate(source, "--apply")


def test_a_second_apply_reports_the_same_actions_and_changes_nothing(source: str) -> None:
    first = _migrate(source, "--apply")
    before = _state()
    second = _migrate(source, "--apply")
    assert _state() == before
    for old, new in zip(first, second, strict=True):
        assert new["reason"] == ("already migrated" if old["task_id"] else old["reason"])
        assert {**new, "reason": ""} == {**old, "reason": ""}


def test_an_unfinished_row_is_a_scheduled_task_that_was_submitted_long_ago(source: str) -> None:
    task_id = _task_of(_migrate(source, "--apply"), 1)
    task = Task.objects.get(id=task_id)
    platform = Platform.objects.get(name="kling")
    assert (task.state, task.status, task.lane, task.flags, task.progress) == (3, 3, 3, 2, 30)
    facts = PlatformTask.objects.get(task_id=task_id)
    assert (facts.platform_id, facts.external_id, facts.raw_status) == (
        platform.pk,
        "up-1",
        "IN_PROGRESS",
    )
    assert facts.submit_started_at == datetime.fromtimestamp(HOUR_AGO + 5, UTC)
    assert facts.expires_at == facts.submit_started_at + timedelta(seconds=platform.time_limit_s)
    info = TaskInfo.objects.get(id=task_id)
    assert (info.type, info.platform, info.user_id, info.business_id) == (
        "platform:run",
        "kling",
        7,
        "task-1",
    )
    assert info.created_at == datetime.fromtimestamp(HOUR_AGO, UTC)


def test_charges_are_balanced_and_a_later_refund_pays_the_user_back(source: str) -> None:
    lines = _migrate(source, "--apply")
    assert entries(_task_of(lines, 1)) == [(ADJUSTMENT, 500), (CHARGE, -500)]
    refunded = sum(line["refund"] for line in lines)
    assert balance(7) == refunded == 2000
    actions.cancel(_task_of(lines, 1), actor="test", reason="over")
    assert balance(7) == refunded + 500
    assert credits.mismatches() == []


def test_a_failed_row_ends_as_failure_and_is_refunded_once(source: str) -> None:
    lines = _migrate(source, "--apply")
    task_id = _task_of(lines, 26)
    task = Task.objects.get(id=task_id)
    assert (task.state, task.status) == (6, 5)
    assert entries(task_id) == [(ADJUSTMENT, 500), (CHARGE, -500), (REFUND, 500)]
    [(error,)] = postgres.query("SELECT error FROM task_run WHERE task_id = %s", [task_id])
    assert error == "migration: the status is empty; no money 没有余额"


def test_odd_quotas_move_no_money(source: str) -> None:
    lines = _migrate(source, "--apply")
    for source_id in (5, 10, 16, 17, 25, 104, 106):
        assert entries(_task_of(lines, source_id)) == []


def test_counters_agree_with_the_rows(source: str) -> None:
    _migrate(source, "--apply")
    duties.fold()
    counted: dict[int, int] = dict(
        postgres.query("SELECT metric, n FROM queue_stat WHERE metric IN (3, 6) AND n <> 0")
    )
    assert counted == dict(postgres.query("SELECT state, count(*) FROM task GROUP BY state"))


def test_platforms_of_the_mapping_exist_disabled_and_own_ones_are_kept(source: str) -> None:
    Platform.objects.create(
        name="suno", protocol="generic", base_url="https://suno.example", price=3
    )
    _migrate(source, "--apply")
    assert Platform.objects.get(name="suno").price == 3
    kling = Platform.objects.get(name="kling")
    assert (kling.enabled, kling.credential_sealed, kling.protocol) == (False, "", "kling")
    assert Platform.objects.count() == 11


def test_a_credential_is_nowhere_in_database_and_report(source: str, tmp_path: Path) -> None:
    lines = _migrate(source, "--apply")
    assert KEY not in repr(lines)
    for table in ("task_info", "platform_task", "task_run", "migrated_row", "audit_entry", "event"):
        assert postgres.query(f"SELECT 1 FROM {table} x WHERE x::text LIKE %s", [f"%{KEY}%"]) == []


def test_not_started_rows_come_when_asked_for_also_later(source: str) -> None:
    _migrate(source, "--apply")
    lines = _migrate(source, "--apply", "--include-not-started")
    task = Task.objects.get(id=_task_of(lines, 6))
    assert (task.state, task.status) == (3, 0)


def test_an_old_id_finds_its_task_and_an_ambiguous_one_is_refused(source: str) -> None:
    lines = _migrate(source, "--apply")
    assert aliases.resolve("task-9") == _task_of(lines, 9)
    with pytest.raises(Conflict) as error:
        aliases.resolve("task-1")
    assert error.value.details["candidates"] == sorted(
        ids.public_id(_task_of(lines, source_id)) for source_id in (1, 21)
    )
    with pytest.raises(TaskNotFound):
        aliases.resolve("task-6")


def test_first_polls_are_spread_over_one_interval(tmp_path: Path) -> None:
    source = sqlite_file(tmp_path / "old.db", [row(n) for n in range(1, 401)])
    _migrate(source, "--apply", "--batch", "400")
    [(spread_s, early)] = postgres.query(
        "SELECT extract(epoch FROM max(run_at) - min(run_at))::float8,"
        " count(*) FILTER (WHERE run_at < (SELECT min(run_at) FROM task) + interval '15 s') FROM task"
    )
    assert 25 < spread_s < 30
    assert 150 < early < 250


def test_small_pages_and_one_large_page_give_the_same_report(source: str) -> None:
    assert _migrate(source, "--batch", "1") == _migrate(source, "--batch", "10000")


def test_an_empty_source_is_a_finished_migration(tmp_path: Path) -> None:
    assert _migrate(sqlite_file(tmp_path / "old.db", []), "--apply") == []
    assert MigrationRun.objects.get().finished_at is not None


def test_an_applied_run_is_audited(source: str) -> None:
    _migrate(source)
    assert not AuditEntry.objects.filter(action="migration.apply").exists()
    _migrate(source, "--apply")
    entry = AuditEntry.objects.get(action="migration.apply")
    assert entry.after is not None
    assert entry.after["fail_refund"] == sum(1 for _, action in WANTED if action == "fail_refund")
    assert entry.actor == cli.actor()
    _migrate(source, "--apply")
    assert AuditEntry.objects.get(action="migration.apply") == entry  # nothing changed any more


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("sqlite:///nowhere/at-all.db", "no SQLite file"),
        ("oracle://db/x", "postgresql://, mysql://"),
        ("postgresql://me:hunter2@127.0.0.1:1/x", "cannot be opened"),
        ("mysql://me:hunter2@127.0.0.1:1/x", "cannot be opened"),
    ],
)
def test_a_source_that_cannot_be_read_is_one_clear_line(
    source: str, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandError, match=words) as error:
        call_command("migrate_tasks", "--source", source, "--report", str(tmp_path / "r"))
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)
    assert "migrate (dry run)" not in capfd.readouterr().err  # no bar before the error


def test_a_source_that_grows_meanwhile_is_read_as_it_was_at_the_beginning(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grow(tasks: Any, known: Any) -> None:
        with sqlite3.connect(source.removeprefix("sqlite://")) as db:
            db.execute("INSERT INTO tasks (platform, status) VALUES ('50', 'QUEUED')")
        write(tasks, known)

    write = writing.write
    monkeypatch.setattr(writing, "write", grow)
    assert len(_migrate(source, "--apply", "--batch", "5")) == len(WANTED)


def test_another_system_under_the_same_name_is_refused_before_its_first_row(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _migrate(source, "--apply")
    before = _state()
    other = sqlite_file(tmp_path / "other.db", [row(1, status="QUEUED"), row(900, status="QUEUED")])
    with pytest.raises(CommandError, match="give its mapping another name") as error:
        _migrate(other, "--apply")
    assert "old.db" in str(error.value)
    assert _state() == before
    _migrate(other)
    assert "give its mapping another name" in " ".join(capsys.readouterr().out.split())
    lines = _migrate(other, "--apply", "--same-system")
    assert [line["source_id"] for line in lines] == [1, 900]
    assert [line["reason"] == ALREADY for line in lines] == [True, False]
