"""Platform tasks and billing with real worker processes: what the stub's own log and the books say afterwards."""

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from jobs.operations import actions, credits
from jobs.operations.tasks import submit
from jobs.store import postgres
from taskcenter.demo.stub_http import Reply, StubRequest, StubServer
from taskcenter.devstack import ports
from tests.e2e.worker_support import column, fresh_views, reaches, worker
from tests.support.engine import entries
from tests.support.platforms import Stubbed, ask, fact, gaps, stub
from tests.support.processes import ROOT, Processes
from tests.support.wait import eventually

__all__ = ["fresh_views", "stub"]
CHARGE, REFUND = 2, 3
SCHEDULED, COMPLETED = 3, 6
SUCCESS, FAILURE, UNKNOWN, CANCELLED = 4, 5, 6, 9


@pytest.mark.req("E-02", "R-04", "C-02", "C-04")
def test_a_worker_takes_platform_tasks_to_their_ends_with_the_books_right(
    processes: Processes, stub: Stubbed
) -> None:
    good, bad = ask(seconds=4), ask(seconds=1, outcome="failed")
    ambiguous, endless = ask(on_create="drop"), ask(seconds=600)
    refused = [ask(on_create="422") for _ in range(3)]
    process = worker(processes)
    reaches(bad, COMPLETED)
    reaches(good, COMPLETED)
    assert (column(good, "status"), column(bad, "status")) == (SUCCESS, FAILURE)
    assert entries(good.id) == [(CHARGE, -30)]
    assert entries(bad.id) == [(CHARGE, -30), (REFUND, 30)]
    assert [entries(task.id) for task in refused] == [[(CHARGE, -30), (REFUND, 30)]] * 3
    assert column(ambiguous, "status") == UNKNOWN
    polls = [e["at"] for e in stub.server.log("GET", f"/v1/predictions/{_id(good)}")]
    first, *rest = gaps([stub.times("POST")[0], *polls])
    assert 3.0 <= first <= 4.5
    assert all(3.0 <= gap <= 4.3 for gap in rest), polls
    assert actions.cancel(endless.id, actor="test").refunded
    eventually(lambda: stub.cancels() == 1)
    assert entries(endless.id) == [(CHARGE, -30), (REFUND, 30)]
    assert credits.mismatches() == []
    assert stub.created == 4
    assert process.stop() == 0


def _id(task: Any) -> str:
    return str(fact(task, "external_id"))


@pytest.mark.req("E-03", "P-03")
def test_a_worker_killed_while_a_submit_is_on_its_way_creates_nothing_twice(
    processes: Processes, stub: Stubbed
) -> None:
    made = ask(on_create="hang")
    first = worker(processes)
    eventually(lambda: stub.created == 1)
    first.kill()
    worker(processes)
    eventually(lambda: column(made, "status") == UNKNOWN, 25)
    assert (stub.created, len(stub.times("POST"))) == (1, 1)
    assert entries(made.id) == [(CHARGE, -30)]


@pytest.mark.req("C-04", "E-03")
def test_a_cancel_while_a_submit_is_on_its_way_is_passed_on_when_the_answer_comes(
    processes: Processes, stub: Stubbed
) -> None:
    answered = stub.app.__call__

    def slow(request: StubRequest) -> Reply:
        reply = answered(request)
        creates = request.method == "POST" and request.path.endswith("predictions")
        return Reply(status=reply.status, body=reply.body, delay_s=2.0) if creates else reply

    stub.server._app = slow
    made = ask(seconds=600)
    worker(processes)
    eventually(lambda: stub.created == 1)
    assert actions.cancel(made.id, actor="test").requested
    reaches(made, COMPLETED)
    assert column(made, "status") == CANCELLED
    eventually(lambda: stub.cancels() == 1)
    assert entries(made.id) == [(CHARGE, -30), (REFUND, 30)]


@pytest.mark.req("C-05", "P-03")
def test_entries_reach_the_billing_service_though_it_was_down_and_their_sender_was_killed(
    processes: Processes,
) -> None:
    port = ports.free_port()
    seen: list[str] = []

    def books(request: StubRequest) -> Reply:
        seen.append(request.headers["idempotency-key"])
        return Reply(body={}, delay_s=0.05)

    env = {"TASKCENTER_BILLING_URL": f"http://127.0.0.1:{port}/entries"}
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v0"],
        env={**os.environ, **processes.env, **env},
        cwd=ROOT,
        check=True,
    )
    credits.grant(user_id=7, amount=1000, reason="test", actor="test")
    for _ in range(30):
        submit("debug:noop", user_id=7, credits=10, process_in=3600)
    first = worker(processes, env=env)
    tried = "SELECT count(*) FROM task_run r JOIN task_info i ON i.id = r.task_id WHERE i.type = 'billing:deliver'"
    eventually(lambda: postgres.query(tried)[0][0] >= 31)
    with StubServer(books, port=port):
        eventually(lambda: len(seen) >= 3)
        first.signal(signal.SIGKILL)
        worker(processes, env=env)
        wanted = {f"entry:{r[0]}" for r in postgres.query("SELECT id FROM credit_entry")}
        assert len(wanted) == 31
        eventually(lambda: set(seen) == wanted, 60)
