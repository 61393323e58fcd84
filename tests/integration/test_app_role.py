"""The product runs as a role that owns nothing and may make nothing (docs/deployment.md, PostgreSQL)."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from django.db import connection

from jobs.operations import keys
from jobs.operations.tasks import submit
from jobs.store import postgres
from tests.e2e.worker_support import COMPLETED, fresh_views, reaches, worker
from tests.support.processes import Processes

__all__ = ["fresh_views"]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "deployment.md"


@pytest.fixture
def as_app(processes: Processes) -> Iterator[str]:
    """URL of the test database for the role that the page describes, made by the page's own statements."""
    [sql] = [
        s for s in re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.S) if "taskcenter_app" in s
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            sql.replace("DATABASE taskcenter ", f"DATABASE {connection.settings_dict['NAME']} ")
        )
    base = processes.env["DATABASE_URL"]
    yield re.sub(r"//[^@/]*@?", "//taskcenter_app:app@", base, count=1)
    with connection.cursor() as cursor:
        cursor.execute("DROP OWNED BY taskcenter_app; DROP ROLE taskcenter_app")


@pytest.mark.req("S26", "T-07")
def test_web_worker_and_scheduler_run_as_a_role_without_ddl(
    processes: Processes, as_app: str
) -> None:
    env = {"DATABASE_URL": as_app}
    worker(processes, env=env)
    processes.manage("rqscheduler", "-i", "1", env=env)
    url = processes.web(env=env)
    key = keys.create(name="k", scopes=["admin"]).key
    headers = {"Authorization": f"Bearer {key}"}
    made = httpx.post(f"{url}/api/v1/tasks", json={"type": "debug:echo"}, headers=headers)
    assert made.status_code == 201, made.text
    granted = httpx.post(
        f"{url}/api/v1/accounts/7", json={"grant": 5, "reason": "r"}, headers=headers
    )
    assert granted.status_code == 200, granted.text
    failing = submit("debug:fail", max_retries=0, user_id=7, credits=5)
    reaches(failing, 5)
    [(task_id,)] = postgres.query("SELECT id FROM task_info WHERE type = 'debug:echo'")
    reaches(task_id, COMPLETED)
    assert httpx.get(f"{url}/readyz").status_code == 200


@pytest.mark.req("S26")
@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE x (a int)",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE task ADD COLUMN x int",
        "DROP TABLE event",
        "TRUNCATE audit_entry",
        "ALTER TABLE audit_entry DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
        "UPDATE credit_entry SET amount = 1",
        "DELETE FROM audit_entry",
    ],
)
def test_that_role_neither_changes_the_schema_nor_switches_its_guards_off(
    as_app: str, sql: str
) -> None:
    with psycopg.connect(as_app, autocommit=True) as app:
        app.execute(
            "INSERT INTO audit_entry (actor, address, action, target, reason, refused)"
            " VALUES ('a', '', 'b', '', '', false)"
        )
        app.execute("INSERT INTO account (tenant_id, user_id, balance) VALUES (1, 1, 0)")
        app.execute(
            "INSERT INTO credit_entry (account_id, kind, amount, cycle, reason, actor)"
            " SELECT id, 1, 5, 0, 'r', 'a' FROM account"
        )
        with pytest.raises(psycopg.Error):
            app.execute(sql)
