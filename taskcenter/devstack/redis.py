"""An own Redis (Valkey) on loopback, with a password and an append-only file."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from taskcenter.devstack import binaries, ports
from taskcenter.devstack.postgres import write_private
from taskcenter.devstack.process import Child, Spec, StartFailed


@dataclass(kw_only=True)
class Redis:
    """Its data stands in `<folder>/redis`."""

    folder: Path
    logs: Path
    port: int = 0
    child: Child = field(init=False)

    def __post_init__(self) -> None:
        self.port = self.port or ports.free_port()
        self.child = Child(
            Spec(
                name="redis",
                argv=[str(binaries.find_redis()), str((self._data / "redis.conf").absolute())],
                env={"PATH": "/usr/bin:/bin"},
                log=self.logs / "redis.log",
                grace_s=20.0,
            )
        )

    @property
    def url(self) -> str:
        return f"redis://:{self._password()}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start on the data that is there. Raises StartFailed."""
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self._data / "redis.conf", self._configuration())
        self.child.start()
        try:
            self.child.wait_until(self.answers, 60)
        except BaseException:
            self.child.kill()
            raise

    def stop(self) -> None:
        self.child.stop()

    def restart(self) -> None:
        """Stop (data written) and start on the same port."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """kill -9; up to a second of writes may be lost."""
        self.child.kill()

    def answers(self) -> bool:
        """Whether it is this server that answers, not a stranger on the same port."""
        client = redis.Redis.from_url(
            self.url,
            socket_connect_timeout=1,
            socket_timeout=2,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            pid = int(client.info("server")["process_id"])
        except redis.AuthenticationError as error:
            raise StartFailed(f"Another Redis answers on 127.0.0.1:{self.port}") from error
        except (redis.RedisError, OSError):
            return False
        finally:
            client.close()
        return pid == self.child.pid

    @property
    def _data(self) -> Path:
        return self.folder / "redis"

    def _password(self) -> str:
        path = self.folder / "redis.password"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        return path.read_text().strip()

    def _configuration(self) -> str:
        lines = (
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self._password()}",
            f'dir "{self._data.absolute()}"',
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "tcp-keepalive 60",
            "daemonize no",
        )
        return "\n".join(lines) + "\n"
