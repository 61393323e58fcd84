"""Limits per key over two real workers, watched from outside by what the handlers write."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit_many
from jobs.store import postgres
from tests.e2e.worker_support import COMPLETED, fresh_views, sleep, worker
from tests.support.processes import Processes
from tests.support.wait import eventually

__all__ = ["fresh_views"]


def _submit(count: int, file: Path, key: str, seconds: float, **options: Any) -> None:
    payload = {"file": str(file), "key": key, "seconds": seconds}
    request = TaskRequest(type="test:span", payload=payload, limit_key=key, **options)
    submit_many([request] * count)


def _most_at_once(file: Path) -> Counter[str]:
    running, most = Counter[str](), Counter[str]()
    for line in file.read_text().splitlines():
        sign, key, _ = line.split()
        running[key] += 1 if sign == "+" else -1
        most[key] = max(most[key], running[key])
    return most


def _begun(file: Path) -> list[float]:
    lines = file.read_text().splitlines() if file.exists() else []
    return [float(line.split()[2]) for line in lines if line.startswith("+")]


def _unfinished() -> int:
    return int(postgres.query("SELECT count(*) FROM task WHERE state <> %s", [COMPLETED])[0][0])


@pytest.mark.req("S-12", "AC59")
def test_two_hundred_tasks_of_a_key_run_three_at_once_and_hold_up_nobody_else(
    processes: Processes, tmp_path: Path
) -> None:
    busy, other = tmp_path / "busy", tmp_path / "other"
    for _ in range(2):
        worker(processes, "--concurrency", "10")
    _submit(200, busy, "busy", 0.02, limit=3)
    eventually(lambda: len(_begun(busy)) > 3, 10)
    began_s = time.time()
    _submit(12, other, "other", 0.3, limit=12)
    assert eventually(lambda: len(_begun(other)) == 12, 5)
    assert max(_begun(other)) - began_s < 1.0
    assert len(_begun(busy)) < 200
    eventually(lambda: _unfinished() == 0, 30)
    assert _most_at_once(busy)["busy"] == 3
    assert _most_at_once(other)["other"] == 12
    assert len(_begun(busy)) == 200


@pytest.mark.req("S-12", "AC59")
def test_the_places_of_a_killed_worker_are_free_again_when_its_tasks_are_rescued(
    processes: Processes, tmp_path: Path
) -> None:
    file = tmp_path / "spans"
    first = worker(processes, "--concurrency", "10")
    _submit(9, file, "k", 2.0, limit=3)
    eventually(lambda: len(_begun(file)) == 3, 10)
    first.kill()
    worker(processes, "--concurrency", "10")
    assert len(_begun(file)) == 3
    eventually(lambda: len(_begun(file)) > 3, 20)
    assert postgres.query(
        "SELECT count(*) FROM task WHERE limit_id IS NOT NULL AND state IN (1, 2)"
    ) == [(3,)]
    eventually(lambda: _unfinished() == 0, 30)
    assert len(_begun(file)) == 9 + 3


@pytest.mark.req("S-12")
def test_twenty_a_second_start_twenty_a_second(processes: Processes, tmp_path: Path) -> None:
    file = tmp_path / "starts"
    for _ in range(2):
        worker(processes, "--concurrency", "20")
    _submit(120, file, "rate", 0.0, limit={"rate": "20/s"})
    eventually(lambda: len(_begun(file)) == 120, 20)
    begun = sorted(_begun(file))
    took_s = begun[-1] - begun[0]
    assert 16 <= 119 / took_s <= 24
    fullest = max(sum(1 for t in begun if at <= t < at + 1.0) for at in begun)
    assert (
        fullest <= 20 + 10 + 4
    )  # its rate, half a second's worth after a rest, and the runs' own jitter


@pytest.mark.req("S-12")
def test_tasks_in_line_use_no_slot(processes: Processes, tmp_path: Path) -> None:
    file = tmp_path / "spans"
    worker(processes, "--concurrency", "2")
    _submit(20, file, "k", 0.5, limit=1)
    eventually(lambda: len(_begun(file)) == 1, 10)
    free = sleep(0.01)
    eventually(lambda: postgres.query("SELECT state FROM task WHERE id = %s", [free]) == [(6,)], 2)
    assert len(_begun(file)) < 6
