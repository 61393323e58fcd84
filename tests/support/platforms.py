"""Platform tasks walked by hand: a stub platform, a contract with short delays, a worker's loop without a worker."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from django.db import connections

from jobs.builtin import platform_asking
from jobs.builtin.platform_run import run_platform_batch
from jobs.contract import reader
from jobs.domain.outcomes import Outcome
from jobs.domain.states import Lane
from jobs.lifecycle.settlement import Ending, Returned
from jobs.operations import credits, duties, platforms, row_claims, runs
from jobs.operations.platforms import PlatformSpec
from jobs.operations.runs import Run
from jobs.operations.tasks import Submitted, submit
from jobs.store import catalog, postgres
from jobs.worker import execution
from jobs.worker.records import Active
from taskcenter.demo import replicate_stub
from taskcenter.demo.replicate_stub import ReplicateStub
from taskcenter.demo.stub_http import StubServer
from tests.support.engine import Hand, row
from tests.support.hurried import scaled

SCALE = 0.05
_THREADS = 4
TOKEN = "r8_stub"
SECRET = "whsec_" + "c2VjcmV0LWZvci10ZXN0cy1vbmx5"
USER = 7


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Delays of the platform tables times SCALE."""
    quick = scaled(reader.load(), SCALE)
    reader.contract.cache_clear()
    monkeypatch.setattr(reader, "load", lambda: quick)
    yield
    monkeypatch.undo()
    reader.contract.cache_clear()


@dataclass(kw_only=True)
class Stubbed:
    """A Replicate stub that is registered as a platform."""

    server: StubServer
    app: ReplicateStub
    name: str = "stub"

    def times(self, method: str, path: str = "/v1/predictions") -> list[float]:
        """When it was asked, by its own log."""
        return [entry["at"] for entry in self.server.log(method, path)]

    @property
    def created(self) -> int:
        return len(self.app.predictions)

    def polls(self) -> list[float]:
        return self.times("GET", "/v1/predictions/")

    def cancels(self) -> int:
        return sum(1 for e in self.server.log("POST") if e["path"].endswith("/cancel"))


@pytest.fixture
def stub() -> Iterator[Stubbed]:
    """Needs the engine's stores as well."""
    server, app = replicate_stub.serve(token=TOKEN, webhook_secret=SECRET)
    with server:
        register("stub", server.base_url)
        yield Stubbed(server=server, app=app)


def register(name: str, base_url: str, protocol: str = "replicate", **more: Any) -> None:
    given: dict[str, Any] = {"credential": TOKEN, "webhook_secret": SECRET, **more}
    platforms.create(
        PlatformSpec(name=name, protocol=protocol, base_url=base_url, allow_private=True, **given)
    )
    catalog.forget()


def ask(platform: str = "stub", cost: int = 30, **wanted: Any) -> Submitted:
    """A charged prediction; `wanted` is the stub's input."""
    credits.grant(user_id=USER, amount=max(cost, 1), reason="test", actor="test")
    payload = {"version": "v1", "input": wanted}
    return submit("platform:run", payload, platform=platform, user_id=USER, credits=cost)


@dataclass
class Pump:
    """A worker's dispatch, claim, run and settle on one thread, over and over."""

    hand: Hand = field(default_factory=Hand)
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS)
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(self._threads)

    def close(self) -> None:
        together = threading.Barrier(_THREADS)

        def part() -> None:
            together.wait()  # one of these on each thread
            connections.close_all()

        for _ in range(_THREADS):
            self._threads.submit(part)
        self._threads.shutdown()
        self._loop.close()

    def step(self) -> list[Run]:
        """One round; returns what was run."""
        duties.dispatch()
        queues = [(queue, 100, 100) for queue in catalog.queues().rows]
        claimed = row_claims.claim_pending(self.hand.id, queues, 100).runs
        polled = [run for run in claimed if run.lane == Lane.PLATFORM]
        settled = self.walk(polled)
        settled += [self._solo(run) for run in claimed if run.lane != Lane.PLATFORM]
        runs.settle(self.hand.id, settled)
        return claimed + self.poll()

    def poll(self) -> list[Run]:
        """Ask about all whose poll is due without a claim, and settle the news; returns whoever was asked about."""
        queues = [queue.id for queue in catalog.queues().rows]
        asking = platform_asking.take(queues, 100, floor=duties.EPOCH_ZERO)
        heard: list[platform_asking.Heard] = []
        if asking.pairs:
            self._loop.run_until_complete(platform_asking.ask(asking, heard.append))
        news = [outcome for _, outcome in platform_asking.bring(self.hand.id, heard)]
        self.outcomes += news
        if news:
            runs.settle(self.hand.id, news)
        return [run for run, _ in asking.pairs]

    def walk(self, claimed: list[Run]) -> list[Outcome]:
        """Only take the platform's part; nothing is settled."""
        made: list[Outcome] = []
        if claimed:
            self._loop.run_until_complete(run_platform_batch(claimed, made.append))
        self.outcomes += made
        return made

    def until(self, condition: Callable[[], bool], timeout_s: float = 15) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the condition never came"
            if not self.step():
                time.sleep(0.005)

    def ends(self, *tasks: Submitted, timeout_s: float = 15) -> None:
        self.until(lambda: all(row(task.id, "state") == 6 for task in tasks), timeout_s)

    def drained(self, timeout_s: float = 15) -> None:
        """Until nothing waits any more, not even what ends brought with them."""
        unfinished = "SELECT count(*) FROM task WHERE state NOT IN (5, 6)"
        self.until(lambda: postgres.query(unfinished)[0][0] == 0, timeout_s)

    def _solo(self, run: Run) -> Outcome:
        rec = Active(run, catalog.queues().name(run.queue_id), self.hand.id)
        return execution.equip(rec) or execution.verdict(rec, self._run(rec))

    def _run(self, rec: Active) -> Ending:
        rec.begin(time.monotonic())
        try:
            return Returned(result=self._loop.run_until_complete(execution.call(rec)))
        except Exception as error:
            return execution.raised(error)


@pytest.fixture
def pump() -> Iterator[Pump]:
    made = Pump()
    yield made
    made.close()


def fact(task: Submitted | UUID, column: str) -> Any:
    """A column of the task's other half."""
    task_id = task if isinstance(task, UUID) else task.id
    found = postgres.query(f"SELECT {column} FROM platform_task WHERE task_id = %s", [task_id])
    return found[0][0] if found else None


def events(task: Submitted) -> list[str]:
    rows = postgres.query("SELECT kind FROM event WHERE task_id = %s ORDER BY id", [task.id])
    return [r[0] for r in rows]


def last_error(task: Submitted) -> str:
    rows = postgres.query(
        "SELECT error FROM task_run WHERE task_id = %s AND error IS NOT NULL ORDER BY id DESC LIMIT 1",
        [task.id],
    )
    return str(rows[0][0]) if rows else ""


def gaps(times: list[float]) -> list[float]:
    return [b - a for a, b in itertools.pairwise(times)]
