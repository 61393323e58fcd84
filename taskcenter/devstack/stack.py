"""The whole of Task Center on one machine, in the order in which it starts."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskcenter.devstack import options as options_of
from taskcenter.devstack import ports, unprivileged
from taskcenter.devstack.options import ROOT, Options
from taskcenter.devstack.postgres import Postgres, write_private
from taskcenter.devstack.process import Child, Spec, StartFailed
from taskcenter.devstack.redis import Redis
from taskcenter.devstack.supervisor import Supervisor

_NAMES = "import taskcenter.settings, taskcenter.env as e; print(*dict(e.effective()))"
_DEMO, _WEB, _SCHEDULER, _WORKER, _REDIS, _POSTGRES = range(6)  # the order of stopping


@dataclass
class Stack:
    """`start` brings everything up; the supervisor keeps it so and stops it."""

    options: Options
    supervisor: Supervisor
    say: Callable[[str], None]
    _env: dict[str, str] = field(default_factory=dict)
    _login: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Raises StartFailed, Stopped."""
        options = self.options
        if not ports.is_free(options.port):
            raise StartFailed(
                f"Port {options.port} is in use by another program; "
                f"stop it, or choose another port: make run PORT={options.port + 1}"
            )
        settings = self._check_environment()
        database_url = options.database_url or self._start_postgres()
        redis_url = options.redis_url or self._start_redis()
        self._env = options_of.child_environment(options, database_url, redis_url)
        options_of.remember(options, self._env, settings)
        self._prepare()
        self._start_web()
        self._start_workers()
        self._write_demo_env()
        if options.demo:
            token = {"TASKCENTER_TOKEN": self._login["token"]}
            self.supervisor.start(self._manage("demo", "demo", extra_env=token), _DEMO)
        self._greet()

    def _check_environment(self) -> set[str]:
        """The names of all settings; a wrong one is told before anything is started. Raises StartFailed."""
        options = self.options
        urls = (options.database_url or "postgresql://", options.redis_url or "redis://")
        done = subprocess.run(
            [sys.executable, "-c", _NAMES],
            cwd=ROOT,
            env=options_of.child_environment(options, *urls),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise StartFailed(done.stderr.strip().splitlines()[-1])
        return set(done.stdout.split())

    def _start_postgres(self) -> str:
        data = self.options.data
        if unprivileged.account() is not None:
            home = unprivileged.reachable_home(data)
            if home != data:
                self.say(f"PostgreSQL's data is in {home}: it may not run as root nor enter {data}")
        postgres = Postgres(folder=data, logs=self.options.logs)
        postgres.start()
        self.supervisor.adopt(postgres.child, _POSTGRES)
        return postgres.url

    def _start_redis(self) -> str:
        redis = Redis(folder=self.options.data, logs=self.options.logs)
        redis.start()
        self.supervisor.adopt(redis.child, _REDIS)
        return redis.url

    def _prepare(self) -> None:
        (self.options.data / "static").mkdir(exist_ok=True)
        long_statements = {"TASKCENTER_DB_STATEMENT_TIMEOUT_S": "3600"}
        self.supervisor.finish(
            self._manage("migrate", "migrate", "--noinput", extra_env=long_statements), 3600
        )
        answer = self.options.logs / "bootstrap_demo.log"
        answer.unlink(missing_ok=True)
        write_private(answer, "")  # it will hold the token
        try:
            self.supervisor.finish(self._manage("bootstrap_demo", "bootstrap_demo", "--json"), 120)
            self._login = _last_json(answer)
        finally:
            if self._login:
                answer.unlink(missing_ok=True)

    def _start_web(self) -> None:
        argv = [
            *(sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws"),
            *("--host", "127.0.0.1", "--port", str(self.options.port)),
            *("--workers", str(self.options.web_workers)),
            *("--blocking-threads", str(self.options.web_threads)),
            *("--blocking-threads-idle-timeout", "600", "taskcenter.wsgi:application"),
        ]
        self.supervisor.start(Child(self._spec("web", argv)), _WEB, self._web_answers)

    def _start_workers(self) -> None:
        for number in range(1, self.options.workers + 1):
            child = self._manage(
                f"worker-{number}", "rqworker", grace_s=self.options.stop_grace_s + 5
            )
            self.supervisor.start(child, _WORKER)
        self.supervisor.start(self._manage("scheduler", "rqscheduler", "-i", "1"), _SCHEDULER)
        if self.options.workers:
            self.supervisor.services[-1].child.wait_until(self._workers_answer, 60)

    def _manage(
        self,
        name: str,
        *arguments: str,
        grace_s: float = 10.0,
        extra_env: dict[str, str] | None = None,
    ) -> Child:
        argv = [sys.executable, "manage.py", *arguments]
        return Child(self._spec(name, argv, grace_s=grace_s, extra_env=extra_env))

    def _spec(
        self,
        name: str,
        argv: list[str],
        *,
        grace_s: float = 10.0,
        extra_env: dict[str, str] | None = None,
    ) -> Spec:
        return Spec(
            name=name,
            argv=argv,
            env={**self._env, **(extra_env or {})},
            log=self.options.logs / f"{name}.log",
            cwd=ROOT,
            grace_s=grace_s,
        )

    def _web_answers(self) -> bool:
        answer = self._get("/healthz")
        if answer is not None and answer.get("instance") != self._env["TASKCENTER_INSTANCE"]:
            raise StartFailed(f"Another Task Center answers on port {self.options.port}")
        return answer is not None

    def _workers_answer(self) -> bool:
        self.supervisor.check()
        answer = self._get("/api/v1/queue/health")
        count = (answer or {}).get("data", {}).get("worker_active_count", 0)
        return int(count) >= self.options.workers

    def _get(self, path: str) -> dict[str, Any] | None:
        request = urllib.request.Request(self.options.url + path)  # noqa: S310 - our own http:// URL
        request.add_header("Authorization", f"Bearer {self._login['token']}")
        try:
            with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
                found = json.load(response)
        except (urllib.error.URLError, OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _write_demo_env(self) -> None:
        exported = {
            "TASKCENTER_URL": self.options.url,
            "TASKCENTER_TOKEN": self._login["token"],
            "TASKCENTER_USER": self._login["user"],
            "TASKCENTER_PASSWORD": self._login["password"],
        }
        own = {
            "DATABASE_URL": self._env["DATABASE_URL"],
            "REDIS_URL": self._env["REDIS_URL"],
        }
        write_private(self.options.data / "demo.env", options_of.demo_env(exported, own))

    def _greet(self) -> None:
        self.say(f"Task Center is ready at {self.options.url}")
        self.say(f"  console  {self.options.url}/admin/")
        self.say(f"  login    {self._login['user']} / {self._login['password']}")
        self.say(f"  token    in {self.options.data / 'demo.env'} (source it, then curl)")
        self.say(f"  logs     {self.options.logs}")
        self.say("  stop     Ctrl-C")


def _last_json(path: Path) -> dict[str, str]:
    """The answer of bootstrap_demo; log lines may stand before it."""
    for line in reversed(path.read_text().splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and {"token", "user", "password"} <= found.keys():
            return {name: str(value) for name, value in found.items()}
    raise StartFailed(f"bootstrap_demo gave no JSON with token, user and password (see {path})")
