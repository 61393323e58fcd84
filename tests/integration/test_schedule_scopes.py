"""What a key may do through a schedule that is not its own idea."""

from typing import Any

import pytest

from jobs.builtin import periodic
from jobs.builtin.periodic import Periodic
from jobs.handlers import Context
from jobs.models import AuditEntry, Schedule
from jobs.operations import credits, keys, tenants
from tests.support import api
from tests.support.api import data

pytestmark = [pytest.mark.django_db, pytest.mark.req("T-02", "T-03", "S19")]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    api.forget()


def _sweep(into: int) -> dict[str, Any]:
    return {"into": into, "at_most": 50}


@pytest.fixture
def nightly(db: None) -> Schedule:
    for user in (1, 2, 66):
        credits.grant(user_id=user, amount=10, reason="t", actor="t")
    admin = api.client("admin", "operate", "submit")
    made = data(
        admin.post(
            "/schedules",
            {"name": "nightly", "cron": "@daily", "type": "sweep:collect", "payload": _sweep(1)},
        ),
        201,
    )
    return Schedule.objects.get(pk=made["id"])


def test_an_operator_key_does_not_redirect_an_admins_sweep_of_balances(nightly: Schedule) -> None:
    operator = api.client("operate", "submit")
    refused = operator.post("/tasks", {"type": "sweep:collect", "payload": _sweep(66)})
    assert refused.status_code == 403
    answer = operator.patch(f"/schedules/{nightly.pk}", {"payload": _sweep(66)})
    assert answer.status_code == 403, answer.json()


def test_an_operator_key_does_not_start_an_admins_sweep_of_balances(nightly: Schedule) -> None:
    operator = api.client("operate", "submit")
    answer = operator.post(f"/schedules/{nightly.pk}/run")
    assert answer.status_code == 403, answer.json()


def test_what_a_tenants_periodic_task_changes_is_in_the_tenants_own_audit_log() -> None:
    acme = tenants.create("acme")
    payload = Periodic(name="mine", cron="@daily", type="debug:echo", payload={"n": 1})
    periodic.put(
        payload,
        Context(
            task_id="task_X",
            type="TaskPeriodic",
            queue="q",
            attempt=1,
            retried=0,
            tenant_id=acme.pk,
        ),
    )
    [entry] = AuditEntry.objects.filter(action="schedule.create")
    assert entry.tenant_id == acme.pk


@pytest.mark.parametrize(
    ("type_", "payload"),
    [
        ("sweep:collect", '{"into": 66, "at_most": 50}'),
        ("billing:deliver", '{"url": "https://evil.example/x", "body": {"amount": 1}}'),
        ("sweep:shard", '{"into": 66, "at_most": 50, "above": 0, "upto": 99, "reason": "x"}'),
        ("plan:step", '{"plan_id": 1}'),
    ],
)
def test_the_consoles_operator_makes_no_schedule_of_what_only_admins_or_the_engine_submit(
    db: None, type_: str, payload: str
) -> None:
    """An operator has no permission on money (`jobs.grant_account`); keys of scope operate get 403 or 422 for these."""
    from tests.integration.admin_support import client_of, confirm_post

    for user in (1, 66):
        credits.grant(user_id=user, amount=10, reason="t", actor="t")
    fields = {
        "name": "mine",
        "cron": "@every 30s",
        "timezone": "UTC",
        "type": type_,
        "payload": payload,
        "options": "{}",
        "missed": "skip",
    }
    answer = confirm_post(client_of("operator"), "/admin/jobs/schedule/new/", **fields)
    assert Schedule.objects.count() == 0, answer.status_code


def test_a_tenant_asking_for_a_name_that_no_task_has_is_answered_404(
    transactional_db: None,
) -> None:
    acme = tenants.create("acme")
    caller = api.client()
    caller.key = keys.create(name="k", scopes=["read"], tenant_id=acme.pk).key
    answers = {
        path: caller.get(path).status_code
        for path in (
            "/tasks/order-7",
            "/status/order-7",
            "/tasks/order-7/attempts",
            "/tasks/order-7/events",
        )
    }
    assert set(answers.values()) == {404}, answers
