"""A web process that is killed in the middle of what moves credits, and a caller who asks again (C-01, C-02, C-03)."""

import json
import sys
from typing import Any

import pytest

from jobs.operations import credits
from jobs.operations.tasks import submit
from tests.support import api
from tests.support.api import ApiClient
from tests.support.books import Books
from tests.support.processes import Processes
from tests.support.wait import eventually

pytestmark = pytest.mark.faults

POINTS = ["entries_written", "balances_moved", "books_committed"]
USER = 77
# One request to the API in a process of its own, which the crash point kills.
_REQUEST = """
import json, sys
import django

django.setup()
from django.test import Client

path, body, headers = (json.loads(text) for text in sys.argv[1:])
answer = Client().generic("POST", path, json.dumps(body), content_type="application/json", headers=headers)
print(answer.status_code)
"""


@pytest.fixture
def caller(processes: Processes) -> ApiClient:
    api.forget()
    credits.grant(user_id=USER, amount=1_000, reason="x", actor="test")
    return api.client("admin")


def _killed(
    processes: Processes, caller: ApiClient, point: str, path: str, body: Any, **headers: str
) -> None:
    """The same request as `caller` would make, in a process that dies at the point."""
    sent = {"Authorization": f"Bearer {caller.key}", **headers}
    argv = [json.dumps(part) for part in (f"/api/v1{path}", body, sent)]
    doomed = processes.run(
        [sys.executable, "-c", _REQUEST, *argv], env={"TASKCENTER_CRASH_AT": point}
    )
    assert doomed.wait(60) == 137, doomed.output


def _balance(books: Books) -> int:
    [(balance,)] = books.ask(f"SELECT balance FROM account WHERE user_id = {USER}")
    return int(balance)


def _entries(books: Books, kind: int) -> list[int]:
    rows = books.ask(
        "SELECT e.amount FROM credit_entry e JOIN account a ON a.id = e.account_id"
        f" WHERE e.kind = {kind} AND a.user_id = {USER} ORDER BY e.id"
    )
    return [row[0] for row in rows]


@pytest.mark.req("C-01", "C-03", "F03", "A-04")
@pytest.mark.parametrize("point", POINTS)
def test_a_submit_killed_anywhere_in_its_charge_is_charged_once_by_its_repeat(
    processes: Processes, books: Books, caller: ApiClient, point: str
) -> None:
    body = {"type": "debug:noop", "user_id": USER, "credits": 40, "process_in": 600}
    _killed(processes, caller, point, "/tasks", body, **{"Idempotency-Key": "k"})
    committed = point == "books_committed"
    assert len(books.ask("SELECT 1 FROM task")) == committed
    assert _balance(books) == (960 if committed else 1_000)
    made = api.data(caller.post("/tasks", body, Idempotency_Key="k"), 201)
    assert api.data(caller.post("/tasks", body, Idempotency_Key="k"), 201) == made
    assert len(books.ask("SELECT 1 FROM task")) == 1
    assert (_entries(books, 2), _balance(books)) == ([-40], 960)
    assert books.check(finished=False) == []


@pytest.mark.req("C-01", "C-03", "A-04")
@pytest.mark.parametrize("point", POINTS)
def test_a_grant_killed_anywhere_is_given_once_by_its_repeat(
    processes: Processes, books: Books, caller: ApiClient, point: str
) -> None:
    body = {"grant": 70, "reason": "gift"}
    _killed(processes, caller, point, f"/accounts/{USER}", body, **{"Idempotency-Key": "k"})
    assert _balance(books) == (1_070 if point == "books_committed" else 1_000)
    again = api.data(caller.post(f"/accounts/{USER}", body, Idempotency_Key="k"))
    assert again["balance"] == 1_070
    assert (_entries(books, 1), _balance(books)) == ([1_000, 70], 1_070)
    assert len(books.ask("SELECT 1 FROM audit_entry WHERE action = 'account.grant'")) == 1
    assert books.check(finished=False) == []


@pytest.mark.req("C-02", "C-04", "C-03")
@pytest.mark.parametrize("point", POINTS)
def test_a_cancel_killed_anywhere_is_refunded_once_whoever_asks_again(
    processes: Processes, books: Books, caller: ApiClient, point: str
) -> None:
    task = submit("debug:noop", user_id=USER, credits=40)
    body = {"task_id": task.task_id}
    _killed(processes, caller, point, "/queue/tasks/cancel", body)
    committed = point == "books_committed"
    assert _balance(books) == (1_000 if committed else 960)
    answer = caller.post("/queue/tasks/cancel", body)
    assert answer.status_code == (409 if committed else 200)
    assert (_entries(books, 3), _balance(books)) == ([40], 1_000)
    assert (
        len(books.ask("SELECT 1 FROM audit_entry WHERE action = 'task.cancel' AND NOT refused"))
        == 1
    )
    assert books.check() == []


@pytest.mark.req("C-02", "C-04", "C-03", "A-04")
@pytest.mark.parametrize("point", POINTS)
def test_a_batch_of_cancels_killed_in_its_midst_is_finished_by_its_repeat(
    processes: Processes, books: Books, caller: ApiClient, point: str
) -> None:
    made = [submit("debug:noop", user_id=USER, credits=10) for _ in range(5)]
    body = {"task_ids": [task.task_id for task in made]}
    path, key = "/queue/tasks/cancel/batch", {"Idempotency-Key": "k"}
    _killed(processes, caller, point, path, body, **key)
    assert books.check(finished=False) == []
    api.error(caller.post(path, body, Idempotency_Key="k"), 409)  # for a minute it may still run
    books.ask("UPDATE idempotency SET created_at = created_at - interval '61 s'")
    told = api.data(caller.post(path, body, Idempotency_Key="k"))
    first = len(made) - told["cancelled"]
    assert first == (1 if point == "books_committed" else 0)
    assert (_entries(books, 3), _balance(books)) == ([10] * 5, 1_000)
    assert books.check() == []


@pytest.mark.req("C-02", "C-03", "P-02")
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_in_the_refunds_of_a_batch_pays_each_failed_task_back_once(
    processes: Processes, books: Books, caller: ApiClient, point: str
) -> None:
    tasks = [
        submit("debug:fail", {"times": 9}, max_retries=0, user_id=USER, credits=10)
        for _ in range(8)
    ]
    doomed = processes.manage("rqworker", "--concurrency", "4", env={"TASKCENTER_CRASH_AT": point})
    assert doomed.wait(60) == 137
    assert books.check(finished=False) == []
    processes.manage("rqworker", "--concurrency", "4")
    eventually(lambda: books.unfinished() == 0, 60, every_s=0.25)
    assert (_entries(books, 3), _balance(books)) == ([10] * len(tasks), 1_000)
    assert books.check() == []
