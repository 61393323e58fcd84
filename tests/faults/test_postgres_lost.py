"""PostgreSQL crashes and restarts, answers lost after the commit (F04)."""

import os
import threading
import time
import uuid
from dataclasses import dataclass, field

import httpx
import pytest
from django.db import connection

from jobs.operations import keys
from taskcenter.devstack.testing import Servers
from tests.support import load
from tests.support.books import Books
from tests.support.load import USERS, Fleet, accepted, charged, sized
from tests.support.processes import Processes
from tests.support.wait import eventually
from tests.support.wire import Wire

pytestmark = pytest.mark.faults


@dataclass
class Submitter:
    """A client that repeats each submit with its idempotency key until it hears 201."""

    url: str
    key: str
    codes: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    replayed: int = 0
    unclear: int = 0
    hasty: int = 0

    def run(self, count: int) -> None:
        with httpx.Client(timeout=10) as client:
            for n in range(count):
                self._submit(client, n)

    def _submit(self, client: httpx.Client, n: int) -> None:
        body = {"type": "debug:sleep", "payload": {"seconds": 0.05}, "credits": 3}
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": uuid.uuid4().hex}
        while True:
            try:
                answer = client.post(
                    f"{self.url}/api/v1/tasks",
                    json={**body, "user_id": USERS[n % len(USERS)]},
                    headers=headers,
                )
            except httpx.TransportError:
                self.unclear += 1
                continue
            self.codes.append(answer.status_code)
            if answer.status_code == 201:
                self.ids.append(answer.json()["data"]["task_id"])
                self.replayed += answer.headers.get("Idempotent-Replayed") == "true"
                return
            if answer.status_code == 503 and int(answer.headers.get("Retry-After", "0")) < 1:
                self.hasty += 1
            time.sleep(0.1)


@pytest.mark.req("F04", "P-05", "S-06")
def test_crashing_postgres_and_losing_answers_charges_every_accepted_task_once(
    processes: Processes, books: Books, servers: Servers
) -> None:
    fleet = Fleet(processes, 2)
    fleet.ready()
    web = processes.web()
    with Wire(int(web.rpartition(":")[2])) as wire:
        wire.lossy(0.2, seed=4)
        key = keys.create(name="faults", scopes=["submit"]).key
        clients = [Submitter(wire.through(web), key) for _ in range(4)]
        threads = [
            threading.Thread(target=client.run, args=(sized(60, 600),)) for client in clients
        ]
        for thread in threads:
            thread.start()
        connection.close()
        for _ in range(sized(2, 5)):
            time.sleep(1)
            servers.postgres.restart(immediate=True)
        back_s = time.monotonic()
        for thread in threads:
            thread.join(90)
        assert not any(thread.is_alive() for thread in threads)
    eventually(lambda: books.unfinished() == 0, 30, every_s=0.25)
    assert time.monotonic() - back_s < sized(30, 120)
    ids = [id_ for client in clients for id_ in client.ids]
    assert books.check() == []
    assert books.ask("SELECT count(*) FROM task") == [(len(set(ids)),)]
    assert len(set(ids)) == len(ids)
    assert {code for client in clients for code in client.codes} <= {201, 503}
    assert sum(client.unclear for client in clients) > 0
    assert sum(client.replayed for client in clients) > 0  # some were stored before the loss
    assert sum(client.hasty for client in clients) == 0
    assert books.ask("SELECT sum(crashes) FROM task") == [(0,)]  # nobody was declared dead for it
    assert all(member.alive for member in fleet.members)


@pytest.mark.req("F04", "P-05")
def test_workers_are_back_ten_seconds_after_postgres(
    processes: Processes, books: Books, servers: Servers
) -> None:
    fleet = Fleet(processes, 2)
    fleet.ready()
    connection.close()
    servers.postgres.restart(immediate=True)
    back_s = time.monotonic()
    ids = accepted(charged(20))
    eventually(lambda: books.unfinished() == 0, 20)
    assert time.monotonic() - back_s < 10
    assert books.check(accepted=ids) == []


@pytest.mark.req("F04", "P-03", "X-07", "AC33", "AF01", "AF02")
def test_replies_of_both_stores_lost_after_execution_leave_nothing_behind(
    processes: Processes, books: Books
) -> None:
    with Wire(load.postgres_port()) as postgres, Wire(load.redis_port()) as redis:
        env = {
            "DATABASE_URL": postgres.through(load.database_url()),
            "REDIS_URL": redis.through(os.environ["REDIS_URL"]),
            "TASK_POLL_INTERVAL": "1",
        }
        fleet = Fleet(processes, 2, env=env)
        fleet.ready()
        ids: list[str] = []
        for wire, seed in ((postgres, 1), (redis, 2)):
            wire.lossy(sized(5, 10) / 100, seed=seed)
            ids += accepted(charged(sized(100, 1_000), seed=seed, seconds=0.05))
            eventually(lambda w=wire: w.lost >= sized(5, 50), sized(60, 200))  # type: ignore[misc]
            wire.heal()
        eventually(lambda: books.unfinished() == 0, 30, every_s=0.25)
        assert books.check(accepted=ids) == []
        assert all(member.alive for member in fleet.members)
