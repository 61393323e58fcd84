"""Throw-away servers for tests: `with servers() as stack: stack.database_url, stack.redis_url`."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from taskcenter.devstack.postgres import Postgres
from taskcenter.devstack.redis import Redis


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Both running servers; `.postgres` and `.redis` have start, stop, restart, kill for fault tests."""

    postgres: Postgres
    redis: Redis

    @property
    def database_url(self) -> str:
        return self.postgres.url

    @property
    def redis_url(self) -> str:
        return self.redis.url


@contextmanager
def servers() -> Iterator[Servers]:
    """A fresh PostgreSQL and Redis on free ports in a temporary folder; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="taskcenter-test-"))
    folder.chmod(0o711)  # root: the account that runs PostgreSQL passes through
    try:
        postgres = Postgres(folder=folder, logs=folder / "logs", durable=False)
        redis = Redis(folder=folder, logs=folder / "logs")
        try:
            postgres.start()
            redis.start()
            yield Servers(postgres=postgres, redis=redis)
        finally:
            redis.kill()
            postgres.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
