"""The second wall (S02): with every tenant filter taken out of the SQL, another tenant's key still reads nothing."""

import re
from contextlib import nullcontext
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import ProgrammingError, connection, transaction

from jobs.models import Account, ApiKey, AuditEntry, CreditEntry, Plan, Platform, Schedule, Task
from jobs.operations import tenants
from jobs.store import postgres, wall
from queues_admin.api.endpoint import Call
from tests.integration.test_isolation import MARK, Estate, acme, house, stranger
from tests.support.api import ApiClient

__all__ = ["acme", "house", "stranger"]

LISTS = ("/tasks", "/schedules", "/plans", "/platforms", "/accounts", "/keys", "/audit")


@pytest.fixture
def mutant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every raw statement and every query of the ORM without its tenant."""
    run = postgres._run

    def forgetful(sql: str, params: Any) -> Any:
        return run(
            re.sub(r"[a-z.]*tenant_id = (%s|%\(tenant\)s)", r"\1::int IS NOT NULL", sql), params
        )

    monkeypatch.setattr(postgres, "_run", forgetful)
    for model in (Schedule, Plan, Platform, Account):
        filter_ = model.objects.filter

        def without(*args: Any, _filter: Any = filter_, **given: Any) -> Any:
            given.pop("tenant_id", None)
            return _filter(*args, **given)

        monkeypatch.setattr(model.objects, "filter", without)


def _leaks(stranger: ApiClient, e: Estate) -> set[str]:
    """Addresses at which something of the estate is told."""
    items = [f"/tasks/{e.task}", f"/tasks/{e.task}/attempts", f"/schedules/{e.schedule}"]
    found = set()
    for path in (*LISTS, *items):
        answer = stranger.get(path)
        assert answer.status_code in (200, 404), (path, answer.content)
        if MARK in answer.content.decode() or (path in items and answer.status_code == 200):
            found.add(path)
    return found


@pytest.mark.req("S02", "T-01")
def test_queries_that_forget_the_tenant_find_nothing_of_anothers(
    stranger: ApiClient, acme: Estate, mutant: None
) -> None:
    assert _leaks(stranger, acme) == set()


@pytest.mark.req("S02")
def test_without_the_wall_the_same_queries_would_tell(
    stranger: ApiClient, acme: Estate, mutant: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Call, "wall", lambda _call: nullcontext())
    assert {"/tasks", "/schedules", f"/tasks/{acme.task}"} <= _leaks(stranger, acme)


@pytest.mark.req("S02")
def test_behind_the_wall_a_tenant_has_its_own_rows_and_cannot_write(acme: Estate) -> None:
    tenant_id = tenants.id_of("acme")
    for table in ("task", "task_info", "schedule", "plan", "platform", "account", "api_key"):
        with wall.behind(tenant_id):
            seen = postgres.query(f"SELECT DISTINCT tenant_id FROM {table}")
        assert seen == [(tenant_id,)], table
    with wall.behind(tenant_id):
        entries = set(CreditEntry.objects.values_list("account_id", flat=True))
        assert entries == set(Account.objects.values_list("pk", flat=True))
        assert all(MARK in actor for actor in AuditEntry.objects.values_list("actor", flat=True))
    for sql in (
        "UPDATE task SET credits = 0",
        "DELETE FROM event",
        "SELECT 1 FROM auth_user",
        "SELECT 1 FROM idempotency",
        "SELECT 1 FROM digest_key",
    ):
        with pytest.raises(ProgrammingError, match="permission denied"), wall.behind(tenant_id):
            postgres.query(sql if sql.startswith("SELECT") else f"{sql} RETURNING 1")


@pytest.mark.req("S02")
def test_the_role_is_left_with_the_transaction_however_it_ends(acme: Estate) -> None:
    everything = Task.objects.count()
    with pytest.raises(ZeroDivisionError), wall.behind(9):
        assert Task.objects.count() == 0
        raise ZeroDivisionError
    assert Task.objects.count() == everything == 2
    with transaction.atomic():
        with wall.behind(9):
            assert ApiKey.objects.count() == 0
        assert Task.objects.count() == everything


@pytest.mark.req("S02")
def test_a_database_whose_owner_may_not_make_roles_works_without_the_wall(engine: None) -> None:
    """A warning, no error; whoever makes the role later gets the wall with the next migrate."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE ROLE plain_owner LOGIN NOCREATEROLE")
        try:
            cursor.execute("SET ROLE plain_owner")
            assert wall.is_there() is False
            wall.build()
            [found] = run_checks(tags=["database"], databases=["default"])
            assert found.id == "taskcenter.W001"
        finally:
            cursor.execute("RESET ROLE; DROP ROLE plain_owner")
    assert wall.is_there() is True
    assert run_checks(tags=["database"], databases=["default"]) == []
