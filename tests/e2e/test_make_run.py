"""`make run`, whole: databases, web, worker, scheduler; a task; a clean stop; the data kept (D-01)."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from taskcenter.devstack import ports
from tests.support.wait import eventually

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder that every account may pass through, so that root's PostgreSQL stays in it."""
    with tempfile.TemporaryDirectory(prefix="taskcenter-run-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


@contextmanager
def _stack(data: Path, **given: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    port = ports.free_port()
    output = data / "output"
    with output.open("w") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-m", "taskcenter.devstack", "run"],
            cwd=ROOT,
            env={
                **_environment(),
                "TASKCENTER_DATA_DIR": str(data),
                "PORT": str(port),
                "DEMO": "0",
                **given,
            },
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ready() -> bool:
        if process.poll() is not None:
            pytest.fail(output.read_text())
        return f"Task Center is ready at http://127.0.0.1:{port}\n" in output.read_text()

    try:
        eventually(ready, 90)
        yield process, _sourced(data / "demo.env")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _sourced(path: Path) -> dict[str, str]:
    """The environment of a program that a shell starts after `source`."""
    script = f"source '{path}' && exec env -0"
    done = subprocess.run(
        ["bash", "-c", script], env={}, capture_output=True, text=True, check=True, timeout=10
    )
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def _call(env: dict[str, str], path: str, body: object = None) -> dict[str, object]:
    response = httpx.request(
        "GET" if body is None else "POST",
        env["TASKCENTER_URL"] + path,
        json=body,
        headers={"Authorization": f"Bearer {env['TASKCENTER_TOKEN']}"},
        timeout=40,
    )
    assert response.is_success, response.text
    data = response.json()["data"]
    assert isinstance(data, dict)
    return data


@pytest.mark.req("D-01")
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_everything_starts_works_stops_cleanly_and_keeps_its_data(data: Path) -> None:
    with _stack(data, TASKCENTER_ENCRYPT_PAYLOADS="true", ASYNQ_READONLY="1") as (process, env):
        assert "DATABASE_URL" not in env  # or the next `make run` of that shell would use it
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", env["TASKCENTER_URL"])
        made = _call(env, "/api/v1/tasks", {"type": "debug:echo", "payload": {"n": 1}})
        done = _call(env, f"/api/v1/tasks/{made['task_id']}?wait=30")
        assert (done["status"], done["result"]) == ("SUCCESS", {"n": 1})
        children = _children(process.pid)
        commands = [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in children]
        assert any("manage.py rqworker" in command for command in commands)
        assert any("manage.py rqscheduler" in command for command in commands)
        beside = [sys.executable, "-m", "taskcenter.devstack", "manage", "migrate", "--check"]
        data_dir = {"TASKCENTER_DATA_DIR": str(data)}
        subprocess.run(beside, cwd=ROOT, env={**_environment(), **data_dir}, check=True, timeout=60)
        ask = "from django.conf import settings as s; print(s.TASKCENTER['ENCRYPT_PAYLOADS'], s.ASYNQ_READONLY)"
        told = subprocess.run(
            [*beside[:4], "shell", "--no-imports", "-c", ask],
            cwd=ROOT,
            env={**_environment(), **data_dir},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert told.stdout == "True True\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    with _stack(data) as (_, env):
        again = _call(env, f"/api/v1/tasks/{made['task_id']}")
        assert again["status"] == "SUCCESS"


@pytest.mark.req("D-01")
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_hang_up_stops_it_cleanly_under_nohup_and_with_its_terminal_gone(data: Path) -> None:
    process = subprocess.Popen(
        ["nohup", sys.executable, "-m", "taskcenter.devstack", "run"],
        cwd=ROOT,
        env={
            **_environment(),
            "TASKCENTER_DATA_DIR": str(data),
            "PORT": str(ports.free_port()),
            "DEMO": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        stdout = process.stdout
        assert stdout is not None
        said = list(iter(stdout.readline, "  stop     Ctrl-C\n"))[:500]
        assert any("Task Center is ready" in line for line in said), said
        children = _children(process.pid)
        assert len(children) >= 5
        log = data / "logs" / "web.log"
        eventually(lambda: "platform=demo-replicate" in log.read_text(), 60)  # a signed webhook
        stdout.close()
        process.send_signal(signal.SIGHUP)
        process.wait(60)
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
