"""A client that a well-known generator makes of our schema, used as docs/api.md shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.operations import keys
from tests.support.processes import Processes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
BIN = Path(sys.executable).parent


def _example() -> str:
    section = PAGE.read_text(encoding="utf-8").partition("## A generated client")[2]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.mark.req("A-04", "S-08")
def test_a_generated_client_submits_and_reads_as_the_page_shows(
    live: str, processes: Processes, tmp_path: Path
) -> None:
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    made = subprocess.run(
        [BIN / "openapi-python-client", "generate", "--url", f"{live}/api/v1/schema"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "WARNING" not in made.stdout + made.stderr
    assert "Unable" not in made.stdout + made.stderr
    processes.manage("rqworker")
    key = keys.create(name="client", scopes=["submit", "read"]).key
    own = {"TASKCENTER_URL": live, "TASKCENTER_TOKEN": key}
    done = subprocess.run(
        [sys.executable, "-c", _example()],
        env={**env, **own, "PYTHONPATH": str(tmp_path / "task-center-client")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"task_\w+ completed \{'order': 17\}\n", done.stdout)
