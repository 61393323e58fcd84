"""Everything through a pooler in transaction mode, as docs/deployment.md says that it works."""

import random
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from jobs.operations import keys, schedules
from tests.support import load
from tests.support.books import Books
from tests.support.callers import Caller
from tests.support.load import Fleet, accepted, charged, sized
from tests.support.pgbouncer import pgbouncer
from tests.support.processes import Processes
from tests.support.wait import eventually

pytestmark = pytest.mark.faults

_TIMEOUTS = {
    "statement_timeout": "10s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "30s",
}


@pytest.fixture
def timeouts(books: Books) -> Iterator[None]:
    """A pooler passes no start options on: the time limits stand on the database instead."""
    name = sql.Identifier(load.database_url().rpartition("/")[2])
    with psycopg.connect(books.url, autocommit=True) as session:
        for setting, value in _TIMEOUTS.items():
            session.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                    name, sql.Identifier(setting), sql.Literal(value)
                )
            )
        yield
        session.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(name))


@pytest.mark.req("X-09", "P-05")
@pytest.mark.usefixtures("timeouts")
def test_web_workers_and_scheduler_live_behind_a_pooler_with_fewer_connections_than_threads(
    processes: Processes, books: Books
) -> None:
    dice = random.Random(7)
    key = keys.create(name="faults", scopes=["submit"]).key
    schedules.create(name="often", cron="@every 1s", type="debug:noop")
    with pgbouncer(load.database_url(), pool=6) as url:
        env = {"DATABASE_URL": url, "TASKCENTER_DB_PREPARE": "false"}
        fleet = Fleet(processes, 2, env=env)
        fleet.ready()
        scheduler = processes.manage("rqscheduler", "-i", "0.2", env=env)
        caller = Caller(processes.web(env=env), key)
        ids = accepted(charged(sized(200, 3_000), seconds=0.05))
        for n in range(30):
            assert caller.post(n) == 201
        fleet.strike(dice)
        fleet.replace()
        ids += accepted(charged(sized(100, 1_000), seed=2, seconds=0.05))
        eventually(lambda: books.ask(_TICKS)[0][0] >= 3, 20)
        scheduler.stop()
        eventually(lambda: books.unfinished() == 0, 40, every_s=0.25)
        assert books.check(accepted=ids) == []
        for process in [*fleet.members, scheduler]:
            assert "prepared statement" not in process.output
        assert fleet.members[0].stop() == 0


_TICKS = "SELECT count(*) FROM schedule_tick"
