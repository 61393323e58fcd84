"""What is shipped for production is checked by tools that know the formats (D-02, T-07)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_BIN = Path(sys.executable).parent


def _run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, timeout=120, env={**os.environ, **env}
    )


@pytest.mark.req("D-02")
def test_the_dockerfile_has_nothing_that_hadolint_minds() -> None:
    done = _run(str(_BIN / "hadolint"), "--failure-threshold", "style", "Dockerfile")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.req("D-02", "S26")
def test_the_image_runs_as_nobody_in_particular_and_looks_after_its_health() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["10001:10001"]
    assert "HEALTHCHECK" in text
    assert not re.search(r"(SECRET_KEY|PASSWORD|TOKEN)\s*=", text)


@pytest.mark.req("D-02")
def test_every_file_that_the_image_copies_exists() -> None:
    copied = re.findall(
        r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    missing = [name for line in copied for name in line.split() if not (ROOT / name).exists()]
    assert missing == []


@pytest.mark.req("D-02")
def test_the_compose_file_fits_the_compose_specification() -> None:
    check = str(_BIN / "check-jsonschema")
    done = _run(check, "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.req("D-02", "T-07")
def test_the_compose_file_holds_no_secret_and_its_redis_is_durable_and_closed() -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text()
    for line in text.splitlines():
        name, _, value = line.strip().partition(": ")
        if re.search(r"PASSWORD$|SECRET_KEY$|REDISCLI_AUTH$", name):
            assert value.startswith("${"), line
    for needed in ("appendonly yes", "requirepass", "maxmemory-policy noeviction"):
        assert needed in text


@pytest.mark.req("T-07", "S25")
@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_dependency_is_pinned_with_hashes_and_names_no_index(name: str) -> None:
    text = (ROOT / name).read_text()
    pins = re.findall(r"^[A-Za-z0-9_.\[\]-]+==\S+.*$", text, re.MULTILINE)
    assert len(pins) > 20
    assert all(pin.endswith("\\") for pin in pins)
    assert not re.search(r"https?://|file:/|--(extra-)?index|--find-links|--trusted-host", text)


@pytest.mark.req("T-07", "S21")
def test_a_start_on_the_developers_key_without_debug_refuses_in_one_line() -> None:
    done = _run(sys.executable, "manage.py", "check", SECRET_KEY="", DEBUG="false")
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"SECRET_KEY: .* at least 32 characters.*\n", done.stderr)


@pytest.mark.req("D-03")
def test_a_wrong_value_stops_the_start_in_one_line() -> None:
    done = _run(sys.executable, "manage.py", "check", ASYNQ_CONCURRENCY="many")
    assert done.returncode == 1
    assert done.stderr == (
        "ASYNQ_CONCURRENCY: 'many' is not possible; allowed: a whole number from 1 to 10000\n"
    )


@pytest.mark.req("T-07", "S22")
def test_the_deployment_check_is_clean_with_production_settings() -> None:
    done = _run(
        *(sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"),
        DEBUG="false",
        ALLOWED_HOSTS="tasks.example.org",
        SECRET_KEY="kX9!" + "aB3$dE7&gH1*jK5_" * 4,
        TASKCENTER_HTTPS="true",
        TASKCENTER_DIAGNOSTICS="false",
        TASKCENTER_ALLOW_PRIVATE="false",
    )
    assert done.returncode == 0, done.stdout + done.stderr
