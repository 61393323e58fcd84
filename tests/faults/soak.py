"""`make soak` (F31): hours at half load with kills, while memory, descriptors, tables and the books are watched.

SOAK_S=21600 python -m tests.faults.soak     exit status 1: something grew, or the books are wrong
"""

import os
import random
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import django

from tests.support import environment

if TYPE_CHECKING:
    from jobs.operations.requests import TaskRequest
    from tests.support.processes import Processes

SOAK_S = float(os.environ.get("SOAK_S", "21600"))
_KEPT_S = 30  # finished tasks; so that tables stop growing soon after the start
_WARM = 0.3  # of the time: from then on nothing may grow
_KILL_EVERY_S = 15.0
_LOOK_EVERY_S = 10.0
_TABLES = ["task", "task_info", "task_run", "stat_delta", "queue_stat"]
_TABLES += ["worker", "account", "duty", "unique_lock"]  # not those that only grow
_SIZES = """
SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relname = ANY(%(names)s) AND relkind = 'r'
"""
_LIVING = "SELECT count(*) FROM worker WHERE dead_at IS NULL"
_SMALL_BYTES = 4 * 2**20  # a table below this is not looked at


def main() -> int:
    environment.prepare(start_servers=True)
    try:
        os.environ["TASKCENTER_LOG_LEVEL"] = "WARNING"
        django.setup()
        from django.core.management import call_command

        from tests.support.processes import Processes

        call_command("migrate", verbosity=0)
        with Processes() as processes:
            return _Soak(processes).run()
    finally:
        environment.dispose()


class _Soak:
    """Two workers that are killed in turn; one worker and a scheduler that must live to the end."""

    def __init__(self, processes: "Processes") -> None:
        from tests.support import load
        from tests.support.books import Books
        from tests.support.wait import eventually

        load.open_accounts(10**12)
        self._dice = random.Random(31)
        self._books = Books(url=os.environ["DATABASE_URL"])
        self._fleet = load.Fleet(processes, 2)
        self._steady = load.Fleet(processes, 1)
        self._steady.replace()
        self._fleet.replace()
        eventually(lambda: self._books.ask(_LIVING)[0][0] == 3, 60, every_s=0.25)
        scheduler = processes.manage("rqscheduler", "-i", "1")
        self._lasting = {"worker": self._steady.members[0].pid, "scheduler": scheduler.pid}
        self._submitted = 0
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}

    def run(self) -> int:
        rate = self._capacity() / 2
        print(f"half load: {rate:.0f} tasks/s for {SOAK_S:.0f} s", flush=True)
        began_s = time.monotonic()
        kill_at_s, look_at_s = began_s + _KILL_EVERY_S, began_s
        sent = 0
        while (now_s := time.monotonic()) < began_s + SOAK_S:
            want = int(rate * (now_s - began_s)) - sent
            if want > 0:
                self._submit(min(want, 200))
                sent += min(want, 200)
            if now_s >= kill_at_s:
                kill_at_s = now_s + self._dice.uniform(0.5, 1.5) * _KILL_EVERY_S
                self._fleet.strike(self._dice)
                self._fleet.replace()
            if now_s >= look_at_s:
                look_at_s = now_s + _LOOK_EVERY_S
                self._look(now_s - began_s)
            time.sleep(0.02)
        return self._judge()

    def _capacity(self) -> float:
        """Tasks per second when there is always enough to do."""
        self._submit(500)  # children are started, statements prepared
        self._drain(120)
        began_s, count = time.monotonic(), 4_000
        self._submit(count)
        self._drain(120)
        return count / (time.monotonic() - began_s)

    def _submit(self, count: int) -> None:
        from jobs.domain.errors import IllegalTransition
        from jobs.operations import actions
        from tests.support import load

        ids = load.accepted([_request(self._dice, n) for n in range(count)])
        self._submitted += count
        for id_ in ids[::50]:
            with suppress(IllegalTransition):  # it has ended already
                actions.cancel(UUID(id_), actor="soak")

    def _drain(self, at_most_s: float) -> None:
        from tests.support.wait import eventually

        eventually(lambda: self._books.unfinished() == 0, at_most_s, every_s=0.25)

    def _look(self, at_s: float) -> None:
        seen: dict[str, int] = dict(self._books.ask(_SIZES, {"names": _TABLES}))
        for name, pid in self._lasting.items():
            seen[f"{name} rss"] = _rss_bytes(pid)
            seen[f"{name} fds"] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            seen[f"{name} threads"] = len(list(Path(f"/proc/{pid}/task").iterdir()))
        self._last = seen
        if at_s >= SOAK_S * _WARM and not self._first:
            self._first = seen
        print(
            f"{at_s:6.0f} s  {self._submitted} submitted, {self._fleet.started} starts, "
            + ", ".join(f"{name} {_shown(value)}" for name, value in sorted(seen.items())),
            flush=True,
        )

    def _judge(self) -> int:
        self._drain(120)
        found = self._books.check()
        for name, first in sorted(self._first.items()):
            last, most = self._last[name], _most(name, first)
            if last > most:
                found.append(f"{name}: {_shown(first)} grew to {_shown(last)}")
        if self._books.deadlocks():
            found.append("deadlocks")
        if not self._steady.members[0].alive:
            found.append("the worker that nobody killed is gone")
        print("\n".join(found) or f"nothing grew, the books of {self._submitted} tasks are right")
        return 1 if found else 0


def _most(name: str, first: int) -> float:
    """What a figure may have become: tables twice, memory a tenth and 16 MB, descriptors and threads eight more."""
    if name.endswith(" rss"):
        return first * 1.1 + 16 * 2**20
    if name.endswith((" fds", " threads")):
        return first + 8
    return max(2 * first, _SMALL_BYTES)


def _request(dice: random.Random, n: int) -> "TaskRequest":
    from jobs.operations.requests import TaskRequest
    from tests.support.load import USERS

    kind: tuple[str, object, float | None] = ("debug:echo", {"n": n}, None)
    match dice.randrange(100):
        case 0:
            kind = ("debug:sleep", {"seconds": 0.01, "lane": "process"}, None)
        case x if x < 6:
            kind = ("debug:sleep", {"seconds": 0.01, "lane": "thread"}, None)
        case x if x < 16:
            kind = ("debug:sleep", {"seconds": 0.02}, None)
        case x if x < 22:
            kind = ("debug:fail", {"times": 1}, None)
        case x if x < 30:
            kind = ("debug:noop", {}, dice.uniform(0.5, 5.0))
        case _:
            pass
    type_, payload, process_in = kind
    return TaskRequest(
        type=type_,
        payload=payload,
        process_in=process_in,
        user_id=USERS[n % len(USERS)],
        credits=3,
        retention=_KEPT_S,
    )


def _rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _shown(value: int) -> str:
    return f"{value / 2**20:.1f} MB" if value > 2**17 else str(value)


if __name__ == "__main__":
    sys.exit(main())
