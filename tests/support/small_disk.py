"""A disk that is soon full: a tablespace on a small tmpfs, and a copy of the tests' database on it."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from psycopg import sql

from tests.support.books import url_of

_NAME = "taskcenter_small"
_BLOCK = bytes(2**16)


@dataclass(frozen=True, kw_only=True)
class SmallDisk:
    """`url`: of the database that stands on it."""

    folder: Path
    url: str

    def fill(self) -> None:
        """Take every byte that is left."""
        with suppress(OSError), (self.folder / "ballast").open("wb", buffering=0) as file:
            while file.write(_BLOCK):
                pass

    def free(self) -> None:
        (self.folder / "ballast").unlink()


@contextmanager
def small_disk(*, size_bytes: int) -> Iterator[SmallDisk]:
    """Skips where no file system may be mounted; nothing may be connected to the tests' database meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="taskcenter-disk-"))
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0711", "tmpfs", str(folder)]
    try:
        if os.geteuid() != 0 or subprocess.run(mounted, check=False, timeout=10).returncode:
            pytest.skip("a full disk needs a small file system: only root may mount one")
        try:
            with _database(folder) as url:
                yield SmallDisk(folder=folder, url=url)
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)
    finally:
        folder.rmdir()


@contextmanager
def _database(folder: Path) -> Iterator[str]:
    name, template = sql.Identifier(_NAME), connection.settings_dict["NAME"]
    connection.close()
    with psycopg.connect(url_of("postgres"), autocommit=True) as server:
        [(data,)] = server.execute("SHOW data_directory").fetchall()
        place, owner = folder / "space", Path(data).stat()
        place.mkdir(mode=0o700)
        os.chown(place, owner.st_uid, owner.st_gid)
        server.execute(
            sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(name, sql.Literal(str(place)))
        )
        try:
            made = "CREATE DATABASE {0} TEMPLATE {1} TABLESPACE {0}"
            server.execute(sql.SQL(made).format(name, sql.Identifier(template)))
            yield url_of(_NAME)
        finally:
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            server.execute(sql.SQL("DROP TABLESPACE {}").format(name))
