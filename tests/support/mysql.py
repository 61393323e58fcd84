"""A throw-away MySQL (MariaDB) server from Debian's `mariadb-server-core` and `mariadb-client-core`."""

import importlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from taskcenter.devstack import ports
from tests.support.processes import Processes
from tests.support.wait import eventually

_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"


pymysql: Any = importlib.import_module("pymysql")  # it has no types


def connect(url: str) -> Any:
    """A connection to the database behind a URL that `server` gave."""
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port,
        user=parts.username,
        database=parts.path.strip("/") or None,
    )


def missing() -> str | None:
    """One line on what this machine lacks; None when a server can be started."""
    for program in ("mariadbd", "mariadb-install-db", "my_print_defaults"):
        if not shutil.which(program, path=_PATH):
            packages = "mariadb-server-core and mariadb-client-core"
            return f"no MySQL server: {program} not found, install Debian's {packages}"
    return None


@contextmanager
def server() -> Iterator[str]:
    """A fresh server; yields the URL of its empty database."""
    with (
        tempfile.TemporaryDirectory(prefix="taskcenter-mysql-") as folder,
        Processes() as processes,
    ):
        data, port = Path(folder) / "data", ports.free_port()
        install, serve = (shutil.which(p, path=_PATH) for p in ("mariadb-install-db", "mariadbd"))
        assert install is not None and serve is not None
        common = ["--no-defaults", f"--datadir={data}", "--user=root"]
        subprocess.run(
            [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
            check=True,
            capture_output=True,
        )
        processes.run(
            [
                *(serve, *common, f"--port={port}", "--bind-address=127.0.0.1"),
                *(
                    f"--socket={folder}/s",
                    f"--pid-file={folder}/pid",
                    "--innodb-buffer-pool-size=32M",
                ),
            ]
        )

        def up() -> bool:
            try:
                with connect(f"mysql://root@127.0.0.1:{port}") as link:
                    link.cursor().execute("CREATE DATABASE old CHARACTER SET utf8mb4")
                return True
            except pymysql.err.OperationalError as error:
                raise AssertionError(str(error)) from None

        eventually(up, 30)
        yield f"mysql://root@127.0.0.1:{port}/old"
