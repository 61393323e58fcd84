"""An own PostgreSQL on loopback: initdb once, then start and stop."""

import os
import secrets
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from taskcenter.devstack import binaries, ports, unprivileged
from taskcenter.devstack.process import Child, Spec, StartFailed, last_line

USER = DATABASE = "taskcenter"
_SETTINGS = {
    "shared_buffers": "256MB",
    "max_connections": "200",
    "autovacuum_naptime": "5s",
    "max_wal_size": "2GB",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "log_min_messages": "warning",
    "timezone": "UTC",
}
_UNSAFE = {"fsync": "off", "full_page_writes": "off"}  # survives kill -9, not a power cut
_ORPHANS = "Terminate any old server processes"


@dataclass(kw_only=True)
class Postgres:
    """Its data stands in `<folder>/postgres-<major>`; `durable=False` is for throw-away servers."""

    folder: Path
    logs: Path
    durable: bool = True
    port: int = 0
    child: Child = field(init=False)
    _bin: Path = field(init=False)
    _account: unprivileged.Account | None = field(init=False)
    _data: Path = field(init=False)

    def __post_init__(self) -> None:
        self.port = self.port or ports.free_port()
        self._account = unprivileged.account()
        found = binaries.find_postgres()
        home, root = found.home, self.folder
        if self._account is not None:
            home = unprivileged.reachable_copy(found.home, found.extras)
            root = unprivileged.reachable_home(self.folder)
        self._bin = home / "bin"
        self._data = root / f"postgres-{binaries.major_version(self._bin / 'postgres')}"
        self.child = Child(self._spec())

    @property
    def url(self) -> str:
        return self._url(DATABASE)

    def start(self) -> None:
        """Create the cluster if there is none, start, and create our database. Raises StartFailed."""
        if not (self._data / "PG_VERSION").exists():
            self._initdb()
        deadline_s = time.monotonic() + 20
        while True:
            try:
                self._launch()
                return
            except StartFailed as error:
                # After a kill -9 the orphaned backends hold the shared memory for a moment longer.
                if _ORPHANS not in str(error) or time.monotonic() > deadline_s:
                    raise
            time.sleep(0.1)

    def _launch(self) -> None:
        self.child.start()
        try:
            self.child.wait_until(self.answers, 60)
            self._create_database()
        except BaseException:
            self.child.kill()
            raise

    def stop(self) -> None:
        """Fast shutdown (SIGINT; SIGTERM would wait for clients)."""
        self.child.stop()

    def restart(self, *, immediate: bool = False) -> None:
        """Stop and start on the same port; `immediate` is a crash of all its processes at once."""
        if immediate:
            self.child.signal(signal.SIGQUIT)
            self.child.wait(10)
        self.stop()
        self.start()

    def kill(self) -> None:
        """kill -9 of the whole server; the next start recovers from its log."""
        self.child.kill()

    def answers(self) -> bool:
        """Whether it is this server that answers, not a stranger on the same port."""
        try:
            with psycopg.connect(self._url("postgres"), connect_timeout=2) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.Error:
            return False
        if row is None or Path(row[0]) != self._data.absolute():
            raise StartFailed(f"Another PostgreSQL answers on 127.0.0.1:{self.port}")
        return True

    def _spec(self) -> Spec:
        settings = {**_SETTINGS, "port": str(self.port), **({} if self.durable else _UNSAFE)}
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        return Spec(
            name="postgres",
            argv=[str(self._bin / "postgres"), "-D", str(self._data.absolute()), *options],
            env=_environment(),
            log=self.logs / "postgres.log",
            cwd=Path("/"),
            stop_signal=signal.SIGINT,
            grace_s=20.0,
            uid=self._account.uid if self._account else None,
            gid=self._account.gid if self._account else None,
        )

    def _password(self) -> str:
        path = self.folder / "postgres.password"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        return path.read_text().strip()

    def _url(self, database: str) -> str:
        return f"postgresql://{USER}:{quote(self._password())}@127.0.0.1:{self.port}/{database}"

    def _initdb(self) -> None:
        """Into a folder beside the final one, renamed when complete, so that half a cluster never stands."""
        major = int(self._data.name.rpartition("-")[2])
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else []
        with tempfile.TemporaryDirectory(dir=self._data.parent, prefix="initdb-") as scratch:
            pwfile = Path(scratch) / "password"
            write_private(pwfile, self._password())
            self._give_away(Path(scratch), pwfile)
            self._run_initdb(
                ["-D", f"{scratch}/data", f"--pwfile={pwfile}", f"--username={USER}"]
                + ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", *locale]
                + ([] if self.durable else ["--no-sync"])
            )
            (Path(scratch) / "data").rename(self._data)

    def _run_initdb(self, options: list[str]) -> None:
        log = self.logs / "initdb.log"
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("wb") as output:
            done = subprocess.run(
                [str(self._bin / "initdb"), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=_environment(),
                user=self._account.uid if self._account else None,
                group=self._account.gid if self._account else None,
                extra_groups=[] if self._account else None,
                start_new_session=True,
                check=False,
                timeout=120,
            )
        if done.returncode:
            raise StartFailed(f"initdb failed: {last_line(log)} (see {log})")

    def _give_away(self, *paths: Path) -> None:
        if self._account is not None:
            for path in paths:
                os.chown(path, self._account.uid, self._account.gid)

    def _create_database(self) -> None:
        create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE))
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            try:
                connection.execute(create)
            except psycopg.errors.DuplicateDatabase:
                return  # kept from the last run


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C", "HOME": "/"}
