"""Who may carry a plan out is judged by what the plan is when it is carried out, however many try at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from jobs.domain.errors import Conflict, Forbidden, TaskCenterError
from jobs.models import Plan
from jobs.operations import credits, keys, plans
from jobs.operations.tasks import submit
from jobs.store import postgres
from tests.integration.admin_support import audits, client_of
from tests.integration.plan_support import draft, many
from tests.support import api
from tests.support.api import data
from tests.support.wait import eventually

pytestmark = pytest.mark.usefixtures("engine")


def _steps(plan: Plan) -> int:
    rows = postgres.query(
        "SELECT count(*) FROM task_info WHERE payload->>'plan_id' = %s",
        [str(plan.pk)],
    )
    return int(rows[0][0])


def _large(settings: Settings) -> Plan:
    """A plan above the limit of four eyes."""
    settings.TASKCENTER = {**settings.TASKCENTER, "FOUR_EYES_CREDITS": 50}
    credits.grant(user_id=1, amount=200, reason="x", actor="test")
    submit("debug:noop", user_id=1, credits=51)
    return draft("cancel", {"user_id": 1})


def _execute_as(actors: list[str], plan: Plan) -> dict[str, str]:
    """What each of them got who executed the plan at the same moment: their names -> code, or `done`."""
    barrier = threading.Barrier(len(actors))

    def one(actor: str) -> str:
        try:
            barrier.wait(10)
            plans.execute(plan.pk, actor=actor)
        except TaskCenterError as error:
            return error.code
        finally:
            connection.close()
        return "done"

    with ThreadPoolExecutor(len(actors)) as pool:
        return dict(zip(actors, pool.map(one, actors), strict=True))


@pytest.mark.req("A-05", "S19")
def test_of_many_approvals_at_once_one_counts_and_the_plan_gets_one_step(
    settings: Settings,
) -> None:
    plan = _large(settings)
    actors = [f"user:{n}" for n in range(8)]
    told = _execute_as(actors, plan)
    assert sorted(told.values()) == [Conflict.code] * 7 + ["done"]
    plan.refresh_from_db()
    assert told[str(plan.executed_by)] == "done"
    assert _steps(plan) == 1


@pytest.mark.req("A-05", "S19", "T-02")
def test_a_maker_and_keys_of_theirs_are_refused_beside_a_second_person_at_the_same_moment(
    settings: Settings,
) -> None:
    plan = _large(settings)
    made = keys.create(name="own", scopes=["admin"], created_by=plan.created_by)
    own = [plan.created_by, f"key:own ({made.key_id})"]
    foreign = ["user:second", "user:third"]
    told = _execute_as([*own, *foreign], plan)
    assert {told[actor] for actor in own} <= {Forbidden.code, Conflict.code}
    assert sorted(told[actor] for actor in foreign) == [Conflict.code, "done"]


@pytest.mark.req("A-05", "S19")
def test_keys_that_execute_a_plan_at_once_make_one_audit_entry_of_it() -> None:
    api.forget()
    clients = [api.client("operate", "read", name=f"k{n}") for n in range(4)]
    many(2, queue="low")
    wanted = {"action": "cancel", "filter": {"queue": "low"}}
    plan = Plan.objects.get(pk=data(clients[0].post("/plans", wanted), 201)["id"])

    def one(n: int) -> int:
        try:
            return int(clients[n].post(f"/plans/{plan.pk}/execute").status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(one, range(4))) == [200, 409, 409, 409]
    assert len(audits("plan.execute")) == 1
    assert _steps(plan) == 1


@pytest.mark.req("A-05", "T-03", "S19")
def test_a_plan_that_is_frozen_while_it_is_confirmed_needs_the_permissions_of_its_preview() -> None:
    credits.grant(user_id=1, amount=100, reason="x", actor="test")
    submit("debug:noop", queue="low", user_id=1, credits=10)
    plan = draft("cancel", {"queue": "low"})
    assert plan.refund == 10
    rows = Plan.objects.filter(pk=plan.pk)
    rows.update(state="freezing", refund=0, tasks=0)
    operator = client_of("operator")
    url = f"/admin/jobs/plan/{plan.pk}/execute/"
    frozen = threading.Event()

    def freeze() -> None:
        try:
            with transaction.atomic():
                rows.update(state="preview", refund=10, tasks=1)
                frozen.set()
                eventually(_somebody_waits, timeout_s=10)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        freezing = pool.submit(freeze)
        assert frozen.wait(10)
        operator.post(url, {"reason": ""})
        freezing.result(15)
    plan.refresh_from_db()
    assert (plan.state, plan.executed_by) == ("preview", "")
    assert len(audits("plan.execute", refused=True)) == 1


def _somebody_waits() -> bool:
    """Whether somebody waits for a lock, or has been answered without it."""
    rows = postgres.query(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock'"
    )
    refused = postgres.query("SELECT count(*) FROM audit_entry WHERE refused")
    return bool(rows[0][0] or refused[0][0])
