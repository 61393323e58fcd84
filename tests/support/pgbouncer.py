"""PgBouncer in transaction mode before the tests' PostgreSQL."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from taskcenter.devstack import ports, unprivileged
from taskcenter.devstack.process import Child, Spec

_CONFIG = """
[databases]
* = host=127.0.0.1 port={target}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = {pool}
max_client_conn = 500
ignore_startup_parameters = options,extra_float_digits
"""


@contextmanager
def pgbouncer(url: str, *, pool: int = 10) -> Iterator[str]:
    """`url` by way of a pooler with so many connections; skips where there is none."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("no pgbouncer on PATH (Debian: apt-get install pgbouncer)")
    parts, port, account = urlsplit(url), ports.free_port(), unprivileged.account()
    folder = Path(tempfile.mkdtemp(prefix="taskcenter-pgbouncer-"))
    users, config = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{parts.username}" "{unquote(parts.password or "")}"\n')
    config.write_text(_CONFIG.format(target=parts.port, port=port, users=users, pool=pool))
    if account is not None:
        for path in (folder, users, config):
            os.chown(path, account.uid, account.gid)
    child = Child(
        Spec(
            name="pgbouncer",
            argv=[program, str(config)],
            env=dict(os.environ),
            log=folder / "log",
            cwd=Path("/"),
            uid=account.uid if account else None,
            gid=account.gid if account else None,
        )
    )
    through = url.replace(f":{parts.port}/", f":{port}/")
    child.start()
    try:
        child.wait_until(lambda: _answers(through), 10)
        yield through
    finally:
        child.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2, prepare_threshold=None) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False
