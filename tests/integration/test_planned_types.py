"""The plan's own names: TaskCallback, TaskScheduled, TaskPeriodic; and what a callback is refused for at submit."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from jobs.builtin import periodic, signatures
from jobs.builtin.periodic import Periodic
from jobs.domain.errors import Invalid, UnknownType
from jobs.domain.outcomes import SkipRetry
from jobs.domain.states import State
from jobs.handlers import Context
from jobs.models import AuditEntry, Schedule, TaskInfo
from jobs.operations import keys, runs, schedules, tenants
from jobs.operations.tasks import submit
from tests.support import api
from tests.support.engine import Hand, row, succeeded

pytestmark = pytest.mark.django_db
HOOK = {"url": "http://receiver.example/hook"}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    api.forget()


def context(**facts: Any) -> Context:
    given = {"task_id": "task_X", "type": "TaskPeriodic", "queue": "q", "attempt": 1, "retried": 0}
    return Context(**{**given, **facts})


def of_tenant(slug: str, *scopes: str) -> api.ApiClient:
    made = keys.create(name=slug, scopes=list(scopes), tenant_id=tenants.id_of(slug))
    client = api.client()
    client.key = made.key
    return client


@pytest.mark.req("S-08", "S-01")
def test_a_callback_can_be_asked_for_by_its_name_in_the_plan() -> None:
    caller = api.client("submit", "read")
    made = api.data(caller.post("/tasks", {"type": "TaskCallback", "payload": HOOK}), 201)
    assert made["type"] == "http:callback"
    assert submit("TaskCallback", HOOK).prepared.handler.name == "http:callback"
    found = api.data(caller.get("/tasks?type=TaskCallback"))
    assert {item["type"] for item in found["items"]} == {"http:callback"}
    assert len(found["items"]) == 2


@pytest.mark.req("S-08", "S-01")
def test_a_scheduled_task_is_its_inner_type_at_its_time_once() -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    asked = {"type": "debug:echo", "payload": {"n": 1}}
    caller = api.client("submit")
    payload = {**asked, "process_at": at.isoformat()}
    made = api.data(
        caller.post("/tasks", {"type": "TaskScheduled", "payload": payload, "tags": ["x"]}), 201
    )
    assert (made["type"], made["payload"], made["state"]) == ("debug:echo", {"n": 1}, "scheduled")
    assert made["tags"] == ["x"]
    assert datetime.fromisoformat(made["next_process_at"]) == at
    later = submit("TaskScheduled", {**asked, "in": 60})
    assert row(later.id, "state") == State.SCHEDULED
    [batch] = api.data(
        caller.post(
            "/tasks/batch",
            {"tasks": [{"type": "TaskScheduled", "payload": {**asked, "in": 5}}]},
        )
    )["results"]
    assert TaskInfo.objects.get(custom_id=None, payload={"n": 1}, tags=["x"]).type == "debug:echo"
    assert "error" not in batch


@pytest.mark.req("S-08")
@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"type": "debug:noop"},
        {"type": "debug:noop", "in": 5, "process_at": "2030-01-01T00:00:00Z"},
        {"type": "debug:noop", "in": "soon"},
        {"type": "no:such", "in": 5},
        {"type": "plan:step", "in": 5},
        {"type": "TaskScheduled", "payload": {"type": "debug:noop", "in": 5}, "in": 5},
    ],
)
def test_a_scheduled_task_without_a_sense_is_refused(payload: dict[str, Any]) -> None:
    caller = api.client("submit")
    answer = caller.post("/tasks", {"type": "TaskScheduled", "payload": payload})
    assert api.error(answer, 422)["code"] in ("invalid", "unknown_type")
    assert not TaskInfo.objects.exists()


@pytest.mark.req("S-08", "T-02")
def test_a_scheduled_task_needs_what_its_inner_type_needs() -> None:
    payload = {"type": "cleanup:expired", "payload": {}, "in": 5}
    body = {"type": "TaskScheduled", "payload": payload}
    assert api.error(api.client("submit").post("/tasks", body), 403)["code"] == "forbidden"
    assert api.data(api.client("submit", "operate").post("/tasks", body), 201)["type"] == (
        "cleanup:expired"
    )


@pytest.mark.req("S-08", "D-06")
def test_a_periodic_task_creates_its_schedule_and_changes_it_by_name() -> None:
    caller = api.client("submit", "operate")
    payload: dict[str, Any] = {
        "name": "hourly",
        "cron": "0 * * * *",
        "type": "debug:noop",
        "payload": {"n": 1},
    }
    made = api.data(caller.post("/tasks", {"type": "TaskPeriodic", "payload": payload}), 201)
    assert made["queue"] == "critical"
    first = periodic.put(Periodic(**payload), context())
    assert first["created"] is True
    again = periodic.put(Periodic(**{**payload, "cron": "30 * * * *"}), context())
    assert (again["created"], again["schedule_id"]) == (False, first["schedule_id"])
    schedule = Schedule.objects.get()
    assert (schedule.cron, schedule.payload, schedule.enabled) == ("30 * * * *", {"n": 1}, True)
    assert again["next_at"].endswith(":30:00+00:00")
    assert AuditEntry.objects.filter(action="schedule.change", actor="task:task_X").count() == 1
    paused = periodic.put(Periodic(**payload, enabled=False), context())
    assert paused["next_at"] is None
    assert (
        periodic.put(Periodic(**payload), context())["next_at"] is None
    )  # what is left out stays as it is


@pytest.mark.req("S-08")
@pytest.mark.parametrize(
    "change",
    [
        {"cron": "every day"},
        {"name": ""},
        {"timezone": "Mars/Olympus"},
        {"type": "no:such"},
        {"type": "TaskPeriodic", "payload": {"name": "x", "cron": "@daily", "type": "debug:noop"}},
        {"type": "TaskScheduled"},
        {"type": "plan:step"},
        {"missed": "always"},
    ],
)
def test_a_wrong_periodic_task_is_refused_at_submit(change: dict[str, Any]) -> None:
    payload = {"name": "n", "cron": "@daily", "type": "debug:noop", **change}
    caller = api.client("submit", "operate")
    api.error(caller.post("/tasks", {"type": "TaskPeriodic", "payload": payload}), 422)
    assert not Schedule.objects.exists()


@pytest.mark.req("S-08", "T-02")
def test_a_periodic_task_needs_operate_and_what_its_inner_type_needs() -> None:
    payload = {"name": "n", "cron": "@daily", "type": "debug:noop"}
    api.error(
        api.client("submit").post("/tasks", {"type": "TaskPeriodic", "payload": payload}), 403
    )
    tenants.create("acme")
    caller = of_tenant("acme", "submit", "operate")
    body = {"type": "TaskPeriodic", "payload": payload}
    assert api.data(caller.post("/tasks", body), 201)["queue"] == "acme:critical"
    inner = {**payload, "type": "cleanup:expired"}
    assert (
        api.error(caller.post("/tasks", {"type": "TaskPeriodic", "payload": inner}), 422)["code"]
        == "unknown_type"
    )
    batch = {"tasks": [{"type": "TaskPeriodic", "payload": inner}]}
    assert api.data(caller.post("/tasks/batch", batch))["rejected"] == 1


@pytest.mark.req("S-08", "A-06")
def test_a_read_only_house_takes_no_periodic_task(settings: Settings) -> None:
    settings.ASYNQ_READONLY = True
    caller = api.client("submit", "operate")
    payload = {"name": "n", "cron": "@daily", "type": "debug:noop"}
    api.error(caller.post("/tasks", {"type": "TaskPeriodic", "payload": payload}), 403)
    api.data(caller.post("/tasks", {"type": "debug:noop"}), 201)


@pytest.mark.req("S-08", "T-01")
def test_a_periodic_task_makes_its_tenants_own_schedule() -> None:
    tenants.create("acme")
    acme = tenants.id_of("acme")
    mine = Periodic(name="n", cron="@daily", type="debug:noop")
    periodic.put(mine, context())
    assert periodic.put(mine, context(tenant_id=acme))["created"] is True
    assert sorted(Schedule.objects.values_list("tenant_id", flat=True)) == [1, acme]


@pytest.mark.req("D-06")
def test_a_schedule_makes_no_schedules() -> None:
    payload = {"name": "n", "cron": "@daily", "type": "debug:noop"}
    with pytest.raises(Invalid):
        schedules.create(name="x", cron="@daily", type="TaskPeriodic", payload=payload)
    with pytest.raises(UnknownType):
        schedules.create(name="x", cron="@daily", type="TaskScheduled", payload={})


@pytest.mark.req("S-07", "S-08")
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"method": "FETCH"}, "method"),
        ({"url": "ftp://receiver.example/"}, "url"),
        ({"url": "http://user@receiver.example/"}, "url"),
        ({"secret": "nobody"}, "secret"),
        ({"headers": {"a b": "c"}}, "headers"),
        ({"headers": {"a": "c\r\nd: e"}}, "headers"),
        ({"retry_status": [99]}, "retry_status"),
        ({"retry_status": ["6xx"]}, "retry_status"),
    ],
)
def test_a_callback_that_could_never_be_sent_is_refused_at_submit(
    change: dict[str, Any], field: str
) -> None:
    caller = api.client("submit")
    answer = caller.post("/tasks", {"type": "http:callback", "payload": {**HOOK, **change}})
    assert api.error(answer, 422)["details"]["field"] == field
    answer = caller.post("/tasks", {"type": "http:callback", "shards": [HOOK, {**HOOK, **change}]})
    assert api.error(answer, 422)["details"]["field"] == field
    assert not TaskInfo.objects.exists()


@pytest.mark.req("S-07", "S-08")
@pytest.mark.parametrize("timeout", [0, 0.05, 301, "30"])
def test_a_callbacks_timeout_has_a_range(timeout: Any) -> None:
    caller = api.client("submit")
    payload = {**HOOK, "timeout": timeout}
    answer = caller.post("/tasks", {"type": "http:callback", "payload": payload})
    assert "timeout" in api.error(answer, 422)["details"].get("type", "") + answer.json()["message"]


@pytest.mark.req("T-01", "T-05")
def test_a_tenant_signs_with_its_own_secrets_only(settings: Settings) -> None:
    tenants.create("acme")
    tenants.create("other")
    stored = {"shop": "house", "acme:shop": "acmes", "default": "common"}
    settings.TASKCENTER = {**settings.TASKCENTER, "CALLBACK_SECRETS": stored}
    acme, other = tenants.id_of("acme"), tenants.id_of("other")
    assert signatures.secret("shop") == "house"
    assert signatures.secret("shop", tenant_id=acme) == "acmes"
    assert signatures.secret("acme:shop", tenant_id=acme) == "acmes"
    for name, tenant_id in (("shop", other), ("acme:shop", other), ("acme:shop", 1)):
        with pytest.raises(Invalid):
            signatures.secret(name, tenant_id=tenant_id)
    unnamed = {signatures.secret(tenant_id=one) for one in (1, acme, other)}
    assert len(unnamed) == 3
    assert signatures.secret() == "common"
    body = {"type": "http:callback", "payload": {**HOOK, "secret": "shop"}}
    api.data(of_tenant("acme", "submit").post("/tasks", body), 201)
    refused = api.error(of_tenant("other", "submit").post("/tasks", body), 422)
    assert refused["details"] == {"field": "secret", "secret": "shop"}


@pytest.mark.req("T-01", "T-05")
def test_the_callback_of_a_tenants_task_is_that_tenants_own() -> None:
    tenants.create("acme")
    acme = tenants.id_of("acme")
    made_by = [submit("debug:noop", tenant_id=t, callback_url=HOOK["url"]) for t in (acme, 1)]
    hand = Hand()
    hand.settle(runs.claim(hand.id, [str(one.id) for one in made_by]), succeeded)
    made = TaskInfo.objects.filter(type="http:callback").values_list("tenant_id", flat=True)
    assert sorted(made) == [1, acme]


@pytest.mark.req("S-08")
def test_a_periodic_task_that_fits_no_more_is_a_dead_letter() -> None:
    with pytest.raises(SkipRetry):
        periodic.put(Periodic(name="n", cron="@daily", type="gone:type"), context())
