"""PostgreSQL refuses to run as root: who runs it instead, and from where."""

import hashlib
import os
import pwd
import secrets
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

_NOBODY = 65534


@dataclass(frozen=True, kw_only=True)
class Account:
    uid: int
    gid: int


def account() -> Account | None:
    """Who runs PostgreSQL: None (ourselves) unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=found.pw_uid, gid=found.pw_gid)
    return Account(uid=_NOBODY, gid=_NOBODY)


def reachable(path: Path) -> bool:
    """Whether anybody may pass through all folders down to `path`."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.resolve().parents))


def reachable_home(wanted: Path) -> Path:
    """`wanted`, or for a folder that nobody else may enter (/root) one under /var/tmp.

    The file `postgres.home` in `wanted` remembers which, so that a second start finds the data again.
    """
    wanted.mkdir(parents=True, exist_ok=True)
    wanted.chmod(wanted.stat().st_mode | stat.S_IXOTH)
    if reachable(wanted):
        return wanted
    pointer = wanted / "postgres.home"
    if not pointer.exists():
        pointer.write_text(f"/var/tmp/taskcenter-{secrets.token_hex(6)}")  # noqa: S108 - random
    return _own_folder(Path(pointer.read_text()))


def reachable_copy(source: Path, extras: tuple[Path, ...]) -> Path:
    """`source` (a folder of binaries), or a copy of it and of its neighbours `extras` that all may read."""
    if reachable(source):
        return source
    key = hashlib.sha256(f"{source.resolve()}:{source.stat().st_mtime_ns}".encode()).hexdigest()
    root = _own_folder(Path(tempfile.gettempdir()) / f"taskcenter-binaries-{key[:12]}")
    if not (root / ".complete").exists():
        for folder in (source, *extras):
            target = root / folder.relative_to(_common(source, extras))
            shutil.copytree(folder, target, symlinks=True, dirs_exist_ok=True)
        (root / ".complete").touch()
    return root / source.relative_to(_common(source, extras))


def _common(source: Path, extras: tuple[Path, ...]) -> Path:
    return Path(os.path.commonpath([source, *extras])) if extras else source.parent


def _own_folder(path: Path) -> Path:
    path.mkdir(mode=0o755, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{path} is not a folder of ours; remove it")
    path.chmod(0o755)
    return path
