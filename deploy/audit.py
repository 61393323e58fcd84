"""`make audit`: known vulnerabilities of the pinned packages, and a bill of materials (CycloneDX JSON).

Exit status 0: none known; 1: some found; 75: not all could be asked about, which says nothing about them.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CLEAN, FOUND, NOT_REACHABLE = 0, 1, 75
_TIMEOUT_S = 600


def main(requirements: str, bill: str) -> int:
    written = _bill(requirements, bill)
    print(f"Bill of materials: {bill}, {written} packages")
    document, said = _asked(requirements)
    status, lines = verdict(document)
    print("\n".join(lines + ([said] if document is None and said else [])))
    return status


def verdict(document: dict[str, Any] | None) -> tuple[int, list[str]]:
    """Exit status and lines for pip-audit's answer (None: it gave none). A package that was left out is not clean."""
    if document is None:
        return NOT_REACHABLE, ["not reachable: the vulnerability service gave no answer"]
    packages = document["dependencies"]
    found = [p for p in packages if p.get("vulns")]
    left_out = [p["name"] for p in packages if "skip_reason" in p]
    if found:
        return FOUND, [_line(package, vuln) for package in found for vuln in package["vulns"]]
    if left_out or not packages:
        text = f"not reachable: {len(left_out)} of {len(packages)} packages are unknown to the service asked"
        return NOT_REACHABLE, [text]
    return CLEAN, [f"No known vulnerabilities in {len(packages)} packages"]


def _line(package: dict[str, Any], vuln: dict[str, Any]) -> str:
    mended = ", ".join(vuln.get("fix_versions") or []) or "no version yet"
    return f"{package['name']} {package['version']}: {vuln['id']}, mended in {mended}"


def _asked(requirements: str) -> tuple[dict[str, Any] | None, str]:
    """pip-audit's JSON answer and the last line of its errors."""
    argv = ["-m", "pip_audit", "-r", requirements, "--disable-pip", "--require-hashes"]
    done = _run([*argv, "--format", "json", "--progress-spinner", "off", "--timeout", "30"])
    said = (done.stderr.strip().splitlines() or [""])[-1][:300]
    try:
        return json.loads(done.stdout), said
    except ValueError:
        return None, said


def _bill(requirements: str, bill: str) -> int:
    """Needs no network. Raises CalledProcessError."""
    Path(bill).parent.mkdir(parents=True, exist_ok=True)
    argv = ["-m", "cyclonedx_py", "requirements", requirements, "--output-reproducible"]
    _run([*argv, "--of", "JSON", "-o", bill]).check_returncode()
    return len(json.loads(Path(bill).read_text())["components"])


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, timeout=_TIMEOUT_S
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
