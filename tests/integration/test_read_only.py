"""While ASYNQ_READONLY is on: what every command and every submit may still do."""

import importlib
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import BaseCommand, CommandError
from pytest_django import Settings

from jobs.management import commands
from jobs.management.cli import Cli
from jobs.models import AuditEntry, Task
from jobs.operations.migration import migrate_if_asked
from tests.support import api, cli
from tests.support.old_gateway import row, sqlite_file

pytestmark = pytest.mark.usefixtures("engine")

_READING = {
    *("audit verify", "keys list", "ledger check", "ledger statement", "queues history"),
    *("queues list", "queues stats", "tasks inspect", "tasks list", "tenants list", "tenants show"),
    *("workers list", "tasks submit"),  # the latter refuses by type
}
_SERVING = {"demo", "rqscheduler", "rqworker", "rqworker-pool"}
_OUTSIDE = {"bootstrap_demo", "generate"}
"""Makes a demo before it serves; writes files of the sources."""


@pytest.fixture
def read_only(settings: Settings) -> Settings:
    settings.ASYNQ_READONLY = True
    return settings


def _commands() -> dict[str, BaseCommand]:
    names = [path.stem for path in Path(commands.__path__[0]).glob("[!_]*.py")]
    return {
        name: importlib.import_module(f"jobs.management.commands.{name}").Command()
        for name in names
    }


def _verbs(command: BaseCommand) -> Iterator[tuple[str, ArgumentParser]]:
    for action in command.create_parser("manage.py", "x")._actions:
        if isinstance(action, _SubParsersAction):
            yield from action.choices.items()


def _changing(name: str, tmp_path: Path) -> list[str]:
    source = ["--source", f"sqlite:///{tmp_path}/old.db", "--report", str(tmp_path / "r")]
    return {
        "axes_reset_username": ["somebody"],
        "migrate_tasks": [*source, "--apply"],
        "rotate_secrets": [],
    }[name]


@pytest.mark.req("A-06")
def test_every_command_that_changes_something_refuses_and_notes_it(
    read_only: Settings, tmp_path: Path
) -> None:
    refused = 0
    for name, command in _commands().items():
        for verb, parser in _verbs(command):
            if f"{name} {verb}" in _READING:
                continue
            with pytest.raises(CommandError, match="ASYNQ_READONLY"):
                command.handle(verb=verb, **parser._defaults)
            refused += 1
        if not isinstance(command, Cli) and name not in _SERVING | _OUTSIDE:
            with pytest.raises(CommandError, match="ASYNQ_READONLY"):
                cli.run(name, *_changing(name, tmp_path))
            refused += 1
    assert refused > 20
    assert [entry[2] for entry in cli.audit()] == [True] * refused


@pytest.mark.req("A-06", "G-01")
def test_a_dry_run_of_a_migration_passes_and_an_applied_one_changes_nothing(
    read_only: Settings, tmp_path: Path
) -> None:
    source = sqlite_file(tmp_path / "old.db", [row(1)])
    asked = ("migrate_tasks", "--source", source, "--report", str(tmp_path / "r"))
    with pytest.raises(CommandError, match="ASYNQ_READONLY"):
        cli.run(*asked, "--apply")
    assert not (tmp_path / "r").exists()
    assert "Dry run" in cli.run(*asked)
    assert Task.objects.count() == 0


@pytest.mark.req("A-06", "G-02")
def test_a_start_migrates_nothing(read_only: Settings, tmp_path: Path) -> None:
    read_only.ASYNQ_MIGRATE_EXISTING = True
    read_only.ASYNQ_MIGRATE_SOURCE = sqlite_file(tmp_path / "old.db", [row(1)])
    read_only.TASKCENTER = {**read_only.TASKCENTER, "STORAGE_DIR": str(tmp_path)}
    assert migrate_if_asked() is None
    assert Task.objects.count() == 0


_REPORT: dict[str, Any] = {"type": "report:generate", "payload": {"name": "tasks_by_day"}}
_CHANGES: list[dict[str, Any]] = [
    {"type": "sweep:collect"},
    {"type": "cleanup:expired"},
    {"type": "TaskScheduled", "payload": {"type": "sweep:collect", "in": 60}},
    {"type": "TaskPeriodic", "payload": {"name": "n", "cron": "@daily", **_REPORT}},
]


@pytest.mark.req("A-06", "S-01")
@pytest.mark.parametrize("asked", _CHANGES, ids=lambda asked: asked["type"])
def test_types_that_need_more_than_submit_are_refused(
    read_only: Settings, asked: dict[str, Any]
) -> None:
    caller = api.client("admin")
    said = api.error(caller.post("/tasks", asked), 403)
    assert said["details"] == {"readonly": True}
    batch = api.data(caller.post("/tasks/batch", {"tasks": [asked, {"type": "debug:noop"}]}))
    assert (batch["rejected"], Task.objects.count()) == (1, 1)


@pytest.mark.req("A-06", "D-05")
def test_the_command_line_submits_plain_types_only(read_only: Settings) -> None:
    with pytest.raises(CommandError, match="ASYNQ_READONLY"):
        cli.run("tasks", "submit", "sweep:collect")
    cli.run("tasks", "submit", "debug:noop")
    assert AuditEntry.objects.filter(refused=True).count() == 1
    assert Task.objects.count() == 1


@pytest.mark.req("A-06", "T-02", "D-05")
def test_a_report_only_reads_and_may_be_asked_for_while_read_only(read_only: Settings) -> None:
    task = api.data(api.client("operate", "submit").post("/tasks", _REPORT), 201)
    assert task["type"] == "report:generate"
    later = {"type": "TaskScheduled", "payload": {**_REPORT, "in": 60}}
    api.data(api.client("operate", "submit", name="b").post("/tasks", later), 201)
    cli.run("tasks", "submit", "report:generate", '{"name": "tasks_by_day"}')
    assert Task.objects.count() == 3
    said = api.error(api.client("submit", name="c").post("/tasks", _REPORT), 403)
    assert said["details"] == {"scope": "operate"}
    refused = api.client("operate", name="d").post(
        "/schedules", {"name": "n", "cron": "@daily", **_REPORT}
    )
    assert api.error(refused, 403)["details"] == {"readonly": True}
