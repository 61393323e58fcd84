"""External platforms that accept while our worker dies, and that answer nonsense (F06, F07)."""

from collections.abc import Iterator

import pytest

from jobs.operations.tasks import submit
from taskcenter.demo import faults, replicate_stub
from taskcenter.demo.replicate_stub import ReplicateStub
from taskcenter.demo.stub_http import StubServer
from tests.stubs import kling_stub
from tests.stubs.kling_stub import KlingStub
from tests.support import load
from tests.support.books import Books
from tests.support.load import USERS, sized
from tests.support.platforms import TOKEN, register
from tests.support.processes import Process, Processes
from tests.support.wait import eventually

pytestmark = pytest.mark.faults

SUCCESS, FAILURE = 4, 5
UP = "[Asynq] Polling system initialized"
# These tell an end in good form; the others say nothing that may be believed.
_GOOD_ENDS = {"nul", "success_then_failed"}


@pytest.fixture
def replicate() -> Iterator[tuple[StubServer, ReplicateStub]]:
    server, app = replicate_stub.serve(token=TOKEN)
    with server:
        yield server, app


@pytest.fixture
def kling() -> Iterator[tuple[StubServer, KlingStub]]:
    server, app = kling_stub.serve()
    with server:
        yield server, app


def _worker(processes: Processes, queue: str, **env: str) -> Process:
    process = processes.manage("rqworker", queue, env=env)
    process.wait_for(UP, 60)
    return process


def _die_after_accept(
    processes: Processes, platform: str, payloads: list[dict[str, object]]
) -> None:
    """Submit, and let the worker die in its first acceptance."""
    _worker(processes, "low")  # declares the other one dead in time
    doomed = _worker(processes, "scheduled", TASKCENTER_CRASH_AT="after_accept")
    for n, payload in enumerate(payloads):
        user = USERS[n % len(USERS)]
        submit("platform:run", payload, platform=platform, user_id=user, credits=30)
    assert doomed.wait(60) == 137


@pytest.mark.req("F06", "E-03")
def test_what_a_platform_accepted_from_a_dying_worker_is_found_again_and_not_created_twice(
    processes: Processes, books: Books, kling: tuple[StubServer, KlingStub]
) -> None:
    server, app = kling
    register("kling", server.base_url, "kling", credential="ak:sk", profile="short")
    count = sized(4, 100)
    _die_after_accept(processes, "kling", [{"prompt": "succeed"}] * count)
    _worker(processes, "scheduled")
    eventually(lambda: books.unfinished() == 0, 60, every_s=0.25)
    created = [str(t["task_info"]["external_task_id"]) for t in app.tasks.values()]
    assert len(created) == count
    assert books.check(created=created) == []
    assert books.ask("SELECT status, count(*) FROM task GROUP BY 1") == [(SUCCESS, count)]


@pytest.mark.req("F06", "E-03")
def test_where_a_platform_cannot_be_asked_the_task_waits_as_unknown_and_is_refunded_once(
    processes: Processes, books: Books, replicate: tuple[StubServer, ReplicateStub]
) -> None:
    server, app = replicate
    register("replicate", server.base_url, profile="short", time_limit=sized(20, 90))
    payloads: list[dict[str, object]] = [
        {"version": "v1", "input": {"n": n, "seconds": 0.1}} for n in range(sized(4, 100))
    ]
    _die_after_accept(processes, "replicate", payloads)
    asked = "SELECT task_id::text FROM platform_task WHERE submit_started_at IS NOT NULL"
    asked = f"{asked} AND external_id IS NULL"
    doubtful = {row[0] for row in books.ask(asked)}
    assert app.predictions  # it did accept some
    _worker(processes, "scheduled")
    unknown = "SELECT count(*) FROM task WHERE status = 6"
    eventually(lambda: books.ask(unknown)[0][0] >= len(doubtful), sized(30, 90))
    eventually(lambda: books.unfinished() == 0, sized(30, 120), every_s=0.25)
    created = [str(p.input["n"]) for p in app.predictions.values()]
    assert books.check(created=created) == []
    ends = dict(books.ask("SELECT id::text, status FROM task"))
    failures = {id_ for id_, status in ends.items() if status == FAILURE}
    assert doubtful <= failures  # a crowded stub may drop more of them
    assert failures == {row[0] for row in books.ask(asked)}
    assert {status for id_, status in ends.items() if id_ not in failures} <= {SUCCESS}


@pytest.mark.req("F07", "R-05", "S24")
def test_nonsense_from_a_platform_ends_nothing_but_its_own_task_and_refunds_it_once(
    processes: Processes, books: Books, replicate: tuple[StubServer, ReplicateStub]
) -> None:
    server, _ = replicate
    register("replicate", server.base_url, profile="short", time_limit=sized(12, 60))
    kinds = [kind for kind in faults.KINDS if load.LONG or kind != "hang"]
    made = {kind: _predict(kind) for kind in kinds}
    made["never_ends"] = _predict("", never_ends=True)
    healthy = [_predict(""), _predict("")]
    process = _worker(processes, "scheduled")
    eventually(lambda: books.unfinished() == 0, sized(60, 180), every_s=0.25)
    assert books.check() == []
    ends = dict(books.ask("SELECT id::text, status FROM task"))
    quoted = ",".join(f"'{id_}'" for id_ in healthy)
    words = f"SELECT task_id::text, error FROM task_run WHERE task_id IN ({quoted})"
    assert [ends[id_] for id_ in healthy] == [SUCCESS, SUCCESS], books.ask(words)
    good = {kind for kind, id_ in made.items() if ends[id_] == SUCCESS}
    assert good <= _GOOD_ENDS
    assert process.alive
    assert "Traceback" not in process.output


def _predict(malformed: str, **wanted: object) -> str:
    payload = {"version": "v1", "input": {"seconds": 0.1, "malformed": malformed, **wanted}}
    return str(submit("platform:run", payload, platform="replicate", user_id=901, credits=30).id)
