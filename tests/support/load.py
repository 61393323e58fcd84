"""Work and workers for the fault tests: charged tasks of several kinds, and a fleet that is struck and replaced."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from django.db import connection
from msgspec.structs import replace

from jobs.operations import credits
from jobs.operations.locks import Refused
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit_many
from tests.support.books import url_of
from tests.support.processes import Process, Processes

LONG = os.environ.get("FAULTS") == "long"
USERS = tuple(range(901, 906))
ACTIVE, ARCHIVED, COMPLETED = 2, 5, 6


def sized(short: int, long: int) -> int:
    """How many, in the form that runs with every `make test`, and with FAULTS=long."""
    return long if LONG else short


def database_url() -> str:
    return url_of(str(connection.settings_dict["NAME"]))


def redis_port() -> int:
    return int(os.environ["REDIS_URL"].rpartition(":")[2].partition("/")[0])


def postgres_port() -> int:
    return int(connection.settings_dict["PORT"])


def open_accounts(amount: int = 10_000_000) -> None:
    for user_id in USERS:
        credits.grant(user_id=user_id, amount=amount, reason="faults", actor="test")


def charged(count: int, *, seed: int = 1, seconds: float = 0.02) -> list[TaskRequest]:
    """Charged tasks in all lanes, 14 in 100 of which fail for good."""
    dice = random.Random(seed)
    return [_request(dice, n, seconds) for n in range(count)]


def accepted(requests: list[TaskRequest]) -> list[str]:
    """Submit and return the ids; fails when one is refused."""
    results = submit_many(requests)
    refused = [r.error for r in results if isinstance(r, Refused)]
    assert not refused, refused[:3]
    return [str(r.id) for r in results if not isinstance(r, Refused)]


def _request(dice: random.Random, n: int, seconds: float) -> TaskRequest:
    plain = TaskRequest(
        type="debug:echo",
        payload={"n": n},
        user_id=USERS[n % len(USERS)],
        credits=3,
        max_retries=0,
    )
    if n % 100 < 14:
        return replace(plain, type="debug:fail", payload={"times": 1_000})
    if n % 10 == 9:
        payload = {"seconds": seconds, "lane": dice.choice(["thread", "thread", "process"])}
        return replace(plain, type="debug:sleep", payload=payload)
    if n % 2:
        return replace(plain, type="debug:sleep", payload={"seconds": seconds})
    return plain


@dataclass
class Fleet:
    """`size` workers; `replace` starts a new one for each that has died."""

    processes: Processes
    size: int
    args: tuple[str, ...] = ("--concurrency", "8")
    env: dict[str, str] = field(default_factory=dict)
    members: list[Process] = field(default_factory=list)
    started: int = 0

    def replace(self) -> None:
        self.members = [member for member in self.members if member.alive]
        while len(self.members) < self.size:
            self.members.append(self.processes.manage("rqworker", *self.args, env=self.env))
            self.started += 1

    def ready(self) -> None:
        """All of them are up."""
        self.replace()
        for member in self.members:
            member.wait_for("[Asynq] Polling system initialized", 60)

    def strike(self, dice: random.Random) -> None:
        """kill -9 of a child, of the parent alone, or of the whole group."""
        victim = dice.choice(self.members)
        match dice.choice(["child", "parent", "group"]):
            case "child":
                found = list(children(victim.pid))
                if found:
                    _kill(dice.choice(found))
            case "parent":
                victim.signal(signal.SIGKILL)
            case _:
                victim.kill()


def children(pid: int) -> Iterator[int]:
    """Every descendant of a process."""
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from children(int(child))


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
