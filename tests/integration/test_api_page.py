"""Every shell line of docs/api.md, run by bash in the order of the page against a real web server and worker."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from taskcenter.devstack.options import demo_env
from tests.support.processes import Processes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
# Each answer's status and request go to descriptor 3; the answer itself where the page wants it.
_CURL = r"""
curl() {
  local all; all=$(command curl --max-time 60 -w '\n%{http_code}' "$@") || return
  printf '%s %s\n' "${all##*$'\n'}" "$(printf '%s ' "$@" | tr '\n' ' ')" >&3
  printf '%s\n' "${all%$'\n'*}"
}
"""
_REFUSED = {"/webhooks/": "401"}  # an unsigned one: the page says so


def _script() -> str:
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return "\n".join(block for block in blocks if not block.startswith("pip install"))


def _statuses(folder: Path) -> list[tuple[str, str]]:
    (folder / "page.sh").write_text("set -uo pipefail\n" + _CURL + _script(), encoding="utf-8")
    done = subprocess.run(
        ["bash", "-c", "exec bash page.sh 3>statuses"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = (folder / "statuses").read_text(encoding="utf-8").splitlines()
    return [(line[:3], line[4:]) for line in lines]


@pytest.mark.req("D-07", "A-01", "A-02")
def test_every_shell_line_of_the_api_page_works_in_the_order_of_the_page(
    live: str, processes: Processes, tmp_path: Path
) -> None:
    made = json.loads(processes.call("bootstrap_demo", "--json"))
    processes.manage("rqworker").wait_for("Polling system initialized")
    (tmp_path / ".data").mkdir()
    values = {"TASKCENTER_URL": live, "TASKCENTER_TOKEN": made["token"]}
    (tmp_path / ".data" / "demo.env").write_text(demo_env(values, {}))
    answers = _statuses(tmp_path)
    wrong = [
        answer
        for answer in answers
        if not answer[0].startswith("2")
        and not any(part in answer[1] and answer[0] == status for part, status in _REFUSED.items())
    ]
    assert wrong == []
    assert len(answers) == len(re.findall(r"\bcurl -", _script()))
