"""Limits per key as callers and operators meet them: REST, batches, schedules, handlers, platforms, the console."""

from collections.abc import Iterator
from typing import Any

import pytest

from jobs.domain.errors import Invalid
from jobs.handlers import Limit, registry, task
from jobs.operations import runs, schedules
from jobs.operations.tasks import Submitted, submit
from jobs.store import postgres
from tests.integration.admin_support import client_of, text
from tests.support import api
from tests.support.api import ApiClient, data
from tests.support.cli import run_json
from tests.support.engine import Hand, row, succeeded
from tests.support.platforms import Pump, Stubbed, fast, pump, stub

pytestmark = pytest.mark.usefixtures("engine")

__all__ = ["fast", "pump", "stub"]
NOOP = {"type": "debug:noop", "limit_key": "user:7", "limit": 1}


@pytest.fixture
def caller() -> ApiClient:
    api.forget()
    return api.client("submit", "read", "admin")


@pytest.fixture
def mailing() -> Iterator[None]:
    """Two types with limits of their own."""

    @task("test:mail", limit=2)
    def mail(payload: dict[str, Any]) -> None: ...

    @task("test:call", limit_key=lambda payload: payload["host"], limit=Limit(rate="1/h"))
    def call(payload: dict[str, Any]) -> None: ...

    yield
    for name in ("test:mail", "test:call"):
        del registry._HANDLERS[name]


@pytest.mark.req("S-12")
def test_rest_takes_a_limit_and_shows_its_key(caller: ApiClient) -> None:
    first, second = (data(caller.post("/tasks", NOOP), 201) for _ in range(2))
    assert (first["state"], first["limit_key"]) == ("aggregating", "user:7")
    assert data(caller.get(f"/tasks/{first['task_id']}"))["state"] == "pending"
    waiting = data(caller.get(f"/tasks/{second['task_id']}"))
    assert (waiting["state"], waiting["limit_key"]) == ("aggregating", "user:7")
    assert "limit_key" not in data(caller.post("/tasks", {"type": "debug:noop"}), 201)


@pytest.mark.req("S-12")
def test_a_repeated_idempotency_key_takes_no_second_turn(caller: ApiClient) -> None:
    first, again = (caller.post("/tasks", NOOP, Idempotency_Key="K") for _ in range(2))
    assert data(first, 201) == data(again, 201)
    assert postgres.query("SELECT state, count(*) FROM task GROUP BY 1") == [(1, 1)]


@pytest.mark.req("S-12", "S-04")
def test_an_item_of_a_batch_with_a_wrong_limit_is_refused_alone(caller: ApiClient) -> None:
    rate = {"concurrency": 2, "rate": "100/m"}
    items = [NOOP, {**NOOP, "limit": 0}, {"type": "debug:noop", "limit_key": "b", "limit": rate}]
    answer = data(caller.post("/tasks/batch", {"tasks": items}))
    assert [r.get("error", {}).get("code") for r in answer["results"]] == [None, "invalid", None]
    limits = postgres.query("SELECT key, concurrency, starts, per_s FROM task_limit ORDER BY key")
    assert limits == [("b", 2, 100, 60), ("user:7", 1, None, None)]


@pytest.mark.req("S-12")
@pytest.mark.parametrize(
    "wrong", [{"limit": {"rate": "many"}}, {"limit": 1, "limit_key": ""}, {"limit": 2.5}]
)
def test_a_wrong_limit_is_answered_with_what_is_wrong(
    caller: ApiClient, wrong: dict[str, Any]
) -> None:
    response = caller.post("/tasks", {**NOOP, **wrong})
    assert response.status_code == 422
    assert "limit" in response.content.decode()


@pytest.mark.req("S-12")
def test_a_schedules_tasks_take_their_turn() -> None:
    made = schedules.create(
        name="s",
        cron="* * * * *",
        type="debug:noop",
        options={"limit_key": "nightly", "limit": {"concurrency": 1}},
    )
    first, second = (schedules.run_now(made.pk) for _ in range(2))
    assert (row(first.id, "state"), row(second.id, "state")) == (1, 7)
    with pytest.raises(Invalid):
        schedules.change(made.pk, options={"limit_key": "nightly", "limit": -1})


@pytest.mark.req("S-12")
def test_the_command_line_submits_under_a_limit() -> None:
    made = run_json("tasks", "submit", "debug:noop", "--limit-key", "k", "--limit", "5/s")
    assert made["limit_key"] == "k"
    assert postgres.query("SELECT starts, per_s FROM task_limit") == [(5, 1)]


@pytest.mark.req("S-12")
@pytest.mark.usefixtures("mailing")
def test_a_handlers_limit_counts_its_type_or_a_key_of_its_payload() -> None:
    mails = [submit("test:mail", {"n": n}) for n in range(3)]
    assert [row(mail.id, "state") for mail in mails] == [1, 1, 7]
    calls = [submit("test:call", {"host": host}) for host in ("a", "a", "b")]
    assert [row(call.id, "state") for call in calls] == [1, 7, 1]
    other = submit("test:mail", {"n": 9}, limit_key="urgent")
    assert row(other.id, "state") == 1


@pytest.mark.req("S-12")
def test_a_handler_with_a_limit_that_cannot_be_kept_is_refused_at_its_declaration() -> None:
    with pytest.raises(Invalid):
        task("test:wrong", limit=0)


@pytest.mark.req("S-12")
@pytest.mark.usefixtures("fast")
def test_a_platform_task_keeps_its_place_between_its_polls(stub: Stubbed, pump: Pump) -> None:
    key = {"limit_key": "user:7", "limit": 1}
    first, second = (_predict(seconds, **key) for seconds in (0.5, 0.1))
    pump.until(lambda: row(first.id, "state") == 3 and row(first.id, "runs") >= 2)
    assert row(second.id, "state", "runs") == (7, 0)
    assert stub.created == 1
    pump.ends(first)
    pump.ends(second)
    assert stub.created == 2


def _predict(seconds: float, **options: Any) -> Submitted:
    payload = {"version": "v1", "input": {"seconds": seconds}}
    return submit("platform:run", payload, platform="stub", **options)


@pytest.mark.req("S-12")
def test_a_platform_tasks_time_limit_begins_when_it_gets_its_place(
    engine: None, stub: Stubbed
) -> None:
    key = {"limit_key": "user:7", "limit": 1}
    first, second = (_predict(0.1, **key) for _ in range(2))
    postgres.query("UPDATE platform_task SET expires_at = now() RETURNING 1")
    hand = Hand()
    hand.settle(runs.claim(hand.id, [str(first.id)]), succeeded)
    assert row(second.id, "state") == 1
    left = "SELECT extract(epoch FROM expires_at - now())::float8 FROM platform_task WHERE task_id = %s"
    assert postgres.query(left, [second.id])[0][0] > 60


@pytest.mark.req("S-12", "V-04")
def test_the_console_says_what_a_task_in_line_waits_for() -> None:
    client = client_of("root")
    tasks = [submit("debug:noop", limit_key="user:7", limit=2) for _ in range(3)]
    page = text(client.get(f"/admin/jobs/task/{tasks[2].task_id}/"))
    assert "It waits for a free place of user:7: 2 of 2 are taken." in page
    for made in tasks:
        page = text(client.get(f"/admin/jobs/task/{made.task_id}/"))
        assert '<dt>Limit</dt><dd class="tc-id">user:7</dd>' in page
        assert "<dt>Its places taken</dt><dd>2 / 2</dd>" in page
    page = text(client.get(f"/admin/jobs/task/{submit('debug:noop').task_id}/"))
    assert "<dt>Limit</dt>" not in page
    slow = [submit("debug:noop", limit_key="api", limit={"rate": "1/h"}) for _ in range(2)]
    page = text(client.get(f"/admin/jobs/task/{slow[1].task_id}/"))
    assert "It waits for its turn of api: at most 1/h start." in page
    assert "<dt>Its rate</dt><dd>1/h</dd>" in page
