"""The environment of all tests, set before Django reads its settings."""

import contextlib
import os
import shutil
import tempfile

from taskcenter.devstack.testing import Servers, servers

_PREFIXES = ("TASKCENTER_", "ASYNQ_", "EMAIL_", "UPDATE_TASK", "TASK_POLL", "SECRET_KEY", "DEBUG")
_KEPT = {"TASKCENTER_CHROMIUM", "TASKCENTER_TEST_URLS", "TASKCENTER_DB_PREPARE"}

_exits = contextlib.ExitStack()
running: Servers | None = None
broken: ImportError | None = None


def prepare(*, start_servers: bool) -> None:
    """Set the variables and, unless TASKCENTER_TEST_URLS=1 says to use given ones, start servers."""
    global running
    for name in [name for name in os.environ if name.startswith(_PREFIXES) and name not in _KEPT]:
        del os.environ[name]
    folder = tempfile.mkdtemp(prefix="taskcenter-data-")
    _exits.callback(shutil.rmtree, folder, ignore_errors=True)
    os.environ.update(
        DJANGO_SETTINGS_MODULE="taskcenter.settings",
        SECRET_KEY="a key for tests only, long enough to be accepted",
        TASKCENTER_DATA_DIR=folder,
        TASKCENTER_DIAGNOSTICS="true",
        TASKCENTER_ALLOW_PRIVATE="1",
        TASKCENTER_HTTPS="false",
        TASKCENTER_LOG_FORMAT="console",
        ALLOWED_HOSTS="127.0.0.1,localhost,testserver",
    )
    if start_servers and os.environ.get("TASKCENTER_TEST_URLS") != "1":
        running = _exits.enter_context(servers())
        os.environ.update(DATABASE_URL=running.database_url, REDIS_URL=running.redis_url)


def dispose() -> None:
    """Stop what `prepare` started."""
    _exits.close()
