"""What `make run` was asked for, and the lock that keeps two of them off the same data."""

import fcntl
import json
import os
import secrets
import shlex
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from taskcenter import env
from taskcenter.devstack import ports
from taskcenter.devstack.postgres import write_private
from taskcenter.devstack.process import StartFailed

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Options:
    """From the environment: PORT, TASKCENTER_DATA_DIR, DATABASE_URL, REDIS_URL, WORKERS, WEB_*, DEMO."""

    port: int
    data: Path
    database_url: str
    redis_url: str
    workers: int
    web_workers: int
    web_threads: int
    demo: bool
    stop_grace_s: float

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def read() -> Options:
    """Raises env.WrongValue."""
    return Options(
        port=env.integer("PORT", 8000, minimum=1, maximum=65_535),
        data=env.folder("TASKCENTER_DATA_DIR", ROOT / ".data"),
        database_url=env.url("DATABASE_URL", "", ("postgres", "postgresql")),
        redis_url=env.url("REDIS_URL", "", ("redis", "rediss", "unix")),
        workers=env.integer("WORKERS", 1, minimum=0, maximum=64),
        web_workers=env.integer("WEB_WORKERS", 1, minimum=1, maximum=64),
        web_threads=env.integer("WEB_THREADS", 8, minimum=2, maximum=256),
        demo=env.flag("DEMO", True),
        stop_grace_s=env.number("TASKCENTER_STOP_GRACE_S", 30.0, minimum=0, maximum=86_400),
    )


def _demo(given: Mapping[str, str], data: Path) -> dict[str, str]:
    """Ports for the demo's own servers, and mail to its sink unless a mail server is given."""
    chosen = _kept_ports(data / "demo-ports.json")
    found = {f"TASKCENTER_DEMO_{name}_PORT": str(port) for name, port in chosen.items()}
    found["TASKCENTER_DEMO"] = "true"
    if not given.get("EMAIL_HOST"):
        smtp = given.get("TASKCENTER_DEMO_SMTP_PORT") or str(chosen["SMTP"])
        found |= {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": smtp, "EMAIL_USE_TLS": "false"}
    return found


def _kept_ports(path: Path) -> dict[str, int]:
    """The ports of the last run while they are free: tasks remember their platform's address."""
    try:
        last = json.loads(path.read_text())
    except (OSError, ValueError):
        last = {}
    names = ("SMTP", "CALLBACK", "REPLICATE")
    last_ports = {name: last.get(name) for name in names}
    chosen = {
        name: port if isinstance(port, int) and ports.is_free(port) else ports.free_port()
        for name, port in last_ports.items()
    }
    path.write_text(json.dumps(chosen))
    return chosen


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Hold the data folder for ourselves; the kernel lets go of it however we end."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise StartFailed(
                f"Another Task Center (pid {lock.read().strip() or 'unknown'}) is running on {data}; "
                "stop it first, or choose another folder with TASKCENTER_DATA_DIR"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def child_environment(options: Options, database_url: str, redis_url: str) -> dict[str, str]:
    """The environment of all `manage.py` processes and of the web server."""
    key_file = options.data / "secret.key"
    if not os.environ.get("SECRET_KEY") and not os.environ.get("SECRET_KEY_FILE"):
        if not key_file.exists():
            write_private(key_file, secrets.token_urlsafe(48))
        key = {"SECRET_KEY_FILE": str(key_file)}
    else:
        key = {}
    kept = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL_FILE", "REDIS_URL_FILE")}
    return {
        **({} if "TASKCENTER_PUBLIC_URL_FILE" in kept else {"TASKCENTER_PUBLIC_URL": options.url}),
        "TASKCENTER_HTTPS": "false",
        "TASKCENTER_DIAGNOSTICS": "true",
        "TASKCENTER_ALLOW_PRIVATE": "1",
        "TASKCENTER_LOG_FORMAT": "console",
        **(_demo(kept, options.data) if options.demo else {}),
        **kept,
        **key,
        "TASKCENTER_DATA_DIR": str(options.data),
        "TASKCENTER_URL": options.url,
        "TASKCENTER_INSTANCE": secrets.token_hex(8),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DJANGO_SETTINGS_MODULE": "taskcenter.settings",
        "PYTHONUNBUFFERED": "1",
    }


def remember(options: Options, env: Mapping[str, str], settings: Set[str]) -> None:
    """Keep the stack's settings, and what this shell has not, for commands started beside it."""
    named = settings | {f"{name}_FILE" for name in settings}
    own = {k: v for k, v in env.items() if k in named or os.environ.get(k) != v}
    write_private(options.data / "stack.json", json.dumps(own))


def demo_env(exported: Mapping[str, str], own: Mapping[str, str]) -> str:
    """For `source`: programs see what is exported; the shell alone the rest, which `make run` would obey."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in exported.items()]
    lines += [f"{name}={shlex.quote(value)}\n" for name, value in own.items()]
    return "".join(lines)


def recall(options: Options) -> dict[str, str]:
    """What `remember` kept. Raises StartFailed when there was no `make run`."""
    try:
        found = json.loads((options.data / "stack.json").read_text())
    except FileNotFoundError:
        raise StartFailed(f"no `make run` has run on {options.data} yet") from None
    return {str(name): str(value) for name, value in found.items()}
