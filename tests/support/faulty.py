"""Replicate stubs that can be made slow or broken as a whole, and what their logs say."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.operations.requests import TaskRequest
from taskcenter.demo.replicate_stub import ReplicateStub
from taskcenter.demo.stub_http import Reply, StubRequest, StubServer
from tests.support.load import USERS, accepted
from tests.support.platforms import TOKEN, register


@dataclass(kw_only=True)
class Faulty:
    """A platform by name. `slow_s`: every answer comes so late. `broken`: every answer is a 500.

    `queue`: nothing ever starts over there.
    """

    name: str
    app: ReplicateStub
    slow_s: float = 0.0
    broken: bool = False
    queue: bool = False
    server: StubServer = field(init=False)

    def __post_init__(self) -> None:
        self.server = StubServer(self)
        self.app.base_url = self.server.base_url

    def __call__(self, request: StubRequest) -> Reply:
        if self.broken:
            return Reply(status=500, body={"detail": "down"})
        reply = replace(self.app(request), delay_s=self.slow_s)
        if self.queue and isinstance(reply.body, dict) and "status" in reply.body:
            reply.body["status"] = "starting"
        return reply

    def calls(self, since_s: float = 0.0, until_s: float = float("inf")) -> list[float]:
        """When it was asked for anything, by its own log."""
        return [e["at"] for e in self.server.log() if since_s <= e["at"] < until_s]

    def submit(self, count: int, **wanted: object) -> list[str]:
        """Charged predictions; `wanted` is the stub's input."""
        return accepted(
            [
                TaskRequest(
                    type="platform:run",
                    payload={"version": "v1", "input": wanted},
                    platform=self.name,
                    user_id=USERS[n % len(USERS)],
                    credits=3,
                )
                for n in range(count)
            ]
        )


@contextmanager
def platforms(count: int, **more: Any) -> Iterator[list[Faulty]]:
    """So many platforms, each with a server and a service of its own."""
    with ExitStack() as stack:
        made = [Faulty(name=f"p{n}", app=ReplicateStub(token=TOKEN)) for n in range(count)]
        for one in made:
            stack.enter_context(one.server)
            register(one.name, one.server.base_url, **more)
        yield made


def busiest(times: list[float], window_s: float) -> int:
    """The most calls within any window of that length."""
    ordered = sorted(times)
    first = 0
    most = 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most


def clusters(times: list[float], apart_s: float) -> list[list[float]]:
    """Calls in groups that a silence of `apart_s` divides."""
    ordered = sorted(times)
    groups = [ordered[:1]] if ordered else []
    for before, at in itertools.pairwise(ordered):
        if at - before >= apart_s:
            groups.append([])
        groups[-1].append(at)
    return groups
