"""F-01: submits over HTTP, driven by wrk against granian as the image starts it."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import stack
from bench.figures import Figure, figure
from taskcenter.devstack.ports import free_port

WORKERS, THREADS = 2, 8  # as in the image
CONNECTIONS, BATCH = 16, 100


def submit_over_http(env: dict[str, str], *, runs: int, seconds: int) -> Iterator[Figure]:
    """F-01a and F-01b; nothing, and a word about it, where wrk is missing (Debian: `apt install wrk`)."""
    if shutil.which("wrk") is None:
        print("F-01a and F-01b are left out: wrk is not on PATH", file=sys.stderr)
        return
    one = {"type": "debug:noop", "queue": "low"}
    with _web(env) as (url, token):
        _load(f"{url}/tasks", token, one, seconds=2)
        singles = [_counted(f"{url}/tasks", token, one, seconds) for _ in range(runs)]
        many = {"tasks": [one] * BATCH}
        batches = [_counted(f"{url}/tasks/batch", token, many, seconds) for _ in range(runs)]
    yield figure("F-01a", "POST /tasks", [m.tasks_per_s for m in singles], "tasks/s", "≥ 1,000")
    yield figure("F-01a", "POST /tasks, p99", [m.p99_ms for m in singles], "ms", "< 50")
    yield figure(
        "F-01b", "POST /tasks/batch of 100", [m.tasks_per_s for m in batches], "tasks/s", "≥ 8,000"
    )


@dataclass(frozen=True, kw_only=True)
class Measured:
    tasks_per_s: float
    p99_ms: float


def _counted(url: str, token: str, body: object, seconds: int) -> Measured:
    """What arrived is counted in the database; every answer must have been a 2xx. Raises AssertionError."""
    stack.clean()
    text = _load(url, token, body, seconds=seconds)
    [(rows,)] = stack.sql("SELECT count(*) FROM task")
    answered, took_s = _numbers(r"(\d+) requests in ([\d.]+)(m?s)", text)
    each = len(body["tasks"]) if isinstance(body, dict) and "tasks" in body else 1
    assert "Non-2xx" not in text, text
    assert rows >= answered * each, f"{answered} answers of {each}, but {rows} rows"
    [p99_ms] = _numbers(r"99%\s+([\d.]+)(us|ms|s)", text)
    return Measured(tasks_per_s=answered * each / (took_s / 1000), p99_ms=p99_ms)


def _numbers(pattern: str, text: str) -> list[float]:
    """The numbers of wrk's line; the last one has a unit and becomes milliseconds."""
    found = re.search(pattern, text)
    assert found is not None, text
    *numbers, unit = found.groups()
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]
    return [*map(float, numbers[:-1]), float(numbers[-1]) * scale]


def _load(url: str, token: str, body: object, *, seconds: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "post.lua"
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = [==[{json.dumps(body)}]==]\n'
            f'wrk.headers["Authorization"] = "Bearer {token}"\n'
            'wrk.headers["Content-Type"] = "application/json"\n'
        )
        command = [
            "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{seconds}s",
            "--latency",
            "-s",
            script,
            url,
        ]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=seconds + 30
        ).stdout


@contextlib.contextmanager
def _web(env: dict[str, str]) -> Iterator[tuple[str, str]]:
    """granian with a key: (base URL of the API, token)."""
    from jobs.operations import keys

    port = free_port()
    token = keys.create(name="bench", scopes=["submit", "read"]).key
    command = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", str(WORKERS)),
        *("--blocking-threads", str(THREADS), "taskcenter.wsgi:application"),
    ]
    extra = {"TASKCENTER_RATE_PER_KEY": "0", "ALLOWED_HOSTS": "127.0.0.1"}
    process = subprocess.Popen(
        command,
        cwd=stack.ROOT,
        env={**env, **extra, "WEB_WORKERS": str(WORKERS), "WEB_THREADS": str(THREADS)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        stack.until(lambda: _answers(f"http://127.0.0.1:{port}/healthz"), 30)
        yield f"http://127.0.0.1:{port}/api/v1", token
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
