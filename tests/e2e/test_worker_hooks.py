"""Failure hooks of handlers, called by a real worker (R-01)."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.operations.tasks import submit
from tests.e2e import hook_tasks
from tests.e2e.worker_support import (
    ARCHIVED,
    COMPLETED,
    RETRY,
    fresh_views,
    reaches,
    worker,
)
from tests.support.processes import Process, Processes
from tests.support.wait import eventually

__all__ = ["fresh_views"]

HOOKED = {"TASKCENTER_HANDLERS": hook_tasks.__name__}


def _start(processes: Processes) -> Process:
    return worker(processes, env=HOOKED)


def _notes(file: Path, count: int) -> list[dict[str, Any]]:
    """The first `count` lines that hooks wrote, once they are there."""

    def read() -> list[dict[str, Any]]:
        text = file.read_text() if file.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    eventually(lambda: len(read()) >= count)
    return read()


def _submit(file: Path, how: str, type_: str = "test:fails", **options: Any) -> Any:
    return submit(type_, {"file": str(file), "how": how}, **options)


@pytest.mark.req("R-01", "AC23", "AC24")
@pytest.mark.parametrize("type_", ["test:fails", "test:fails-apart"])
def test_a_failed_run_calls_its_hook_after_the_settle_and_the_last_one_both(
    processes: Processes, tmp_path: Path, type_: str
) -> None:
    _start(processes)
    done = _submit(
        tmp_path / "notes", "badly", type_, business_id="order-17", headers={"region": "eu"}
    )
    first, second, last = _notes(tmp_path / "notes", 3)
    assert first == {
        "hook": "failure",
        "task_id": done.task_id,
        "attempt": 1,
        "retried": 0,
        "dead": False,
        "again": True,
        "business_id": "order-17",
        "headers": {"region": "eu"},
        "error": "ValueError: boom",
        "states": first["states"],
    }
    assert (second["hook"], second["attempt"], second["retried"]) == ("failure", 2, 1)
    assert (last["hook"], last["attempt"], last["dead"], last["again"]) == (
        *("exhausted", 2, True),
        False,
    )
    assert second["states"] == last["states"] == [ARCHIVED]


@pytest.mark.req("R-01", "AC25")
def test_a_skipped_retry_calls_both_hooks_at_once(processes: Processes, tmp_path: Path) -> None:
    _start(processes)
    _submit(tmp_path / "notes", "skip")
    assert [(n["hook"], n["attempt"]) for n in _notes(tmp_path / "notes", 2)] == [
        ("failure", 1),
        ("exhausted", 1),
    ]


@pytest.mark.req("R-01")
def test_what_is_no_failure_calls_no_hook(processes: Processes, tmp_path: Path) -> None:
    _start(processes)
    for how, state in (("well", COMPLETED), ("discard", COMPLETED), ("no failure", RETRY)):
        reaches(_submit(tmp_path / "quiet", how), state)
    _submit(
        tmp_path / "last", "skip"
    )  # hooks are called in order: by now the others' would be there
    _notes(tmp_path / "last", 2)
    assert not (tmp_path / "quiet").exists()


@pytest.mark.req("R-01")
def test_a_hook_that_raises_is_logged_and_harms_nothing(
    processes: Processes, tmp_path: Path
) -> None:
    process = _start(processes)
    done = _submit(tmp_path / "notes", "raising hook")
    reaches(done, ARCHIVED)
    notes = _notes(tmp_path / "notes", 3)
    assert [note["hook"] for note in notes] == ["failure", "failure", "exhausted"]
    assert "on_failure" in process.wait_for("failure hook raised")
    assert "the hook broke" in process.output
    after = submit("debug:noop", {})
    reaches(after, COMPLETED)
    assert process.alive


@pytest.mark.req("R-01")
def test_hooks_that_are_due_are_called_before_a_worker_ends(
    processes: Processes, tmp_path: Path
) -> None:
    _submit(tmp_path / "notes", "skip")
    burst = worker(processes, "--burst", env=HOOKED)
    assert burst.wait() == 0
    assert len(_notes(tmp_path / "notes", 2)) == 2
