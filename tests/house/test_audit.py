"""What `make audit` makes of the service's answers; the service itself is asked by nobody here."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def audit() -> Any:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "deploy" / "audit.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.req("S25", "T-07")
def test_no_answer_and_packages_left_out_are_not_taken_for_a_clean_bill(audit: Any) -> None:
    assert audit.verdict(None)[0] == 75
    good = {"name": "a", "version": "1", "vulns": []}
    unknown = {"name": "b", "skip_reason": "not found"}
    status, [line] = audit.verdict({"dependencies": [good, unknown]})
    assert (status, line.startswith("not reachable: 1 of 2")) == (75, True)
    assert audit.verdict({"dependencies": []})[0] == 75
    assert audit.verdict({"dependencies": [good]})[0] == 0


@pytest.mark.req("S25", "T-07")
def test_each_vulnerability_is_named_with_what_mends_it(audit: Any) -> None:
    vuln = {"id": "PYSEC-1", "fix_versions": ["1.2"]}
    bad = {"name": "a", "version": "1", "vulns": [vuln]}
    unknown = {"name": "b", "skip_reason": "not found"}
    assert audit.verdict({"dependencies": [bad, unknown]}) == (
        1,
        ["a 1: PYSEC-1, mended in 1.2"],
    )


@pytest.mark.req("S25", "T-07")
def test_the_bill_of_materials_lists_every_pinned_package(audit: Any, tmp_path: Path) -> None:
    bill = tmp_path / "sbom.json"
    count = audit._bill(str(ROOT / "requirements.txt"), str(bill))
    pinned = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line]
    assert count == len(pinned)
    names = {component["name"] for component in json.loads(bill.read_text())["components"]}
    assert {"django", "cryptography", "psycopg-binary"} <= names
