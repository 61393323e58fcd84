"""Three schedulers, one of which is killed, another frozen, while Redis loses everything (F17)."""

import signal
from typing import Any

import pytest

from jobs.operations import schedules
from tests.support.books import Books
from tests.support.load import sized
from tests.support.processes import Processes
from tests.support.wait import eventually

pytestmark = pytest.mark.faults

_GAPS = """
SELECT max(extract(epoch FROM created_at - before))::float8 FROM
  (SELECT created_at, lag(created_at) OVER (ORDER BY created_at) AS before FROM task_info) x
"""


@pytest.mark.req("F17", "D-06", "AF13")
def test_three_schedulers_under_fire_make_exactly_one_task_per_tick_and_leave_no_gap(
    processes: Processes, books: Books, redis: Any
) -> None:
    schedules.create(name="often", cron="@every 1s", type="debug:noop")
    first, second, third = (processes.manage("rqscheduler", "-i", "0.2") for _ in range(3))
    for scheduler in (first, second, third):
        scheduler.wait_for("scheduler started", 30)

    def more(n: int) -> None:
        goal = books.ask("SELECT count(*) FROM task")[0][0] + n
        eventually(lambda: books.ask("SELECT count(*) FROM task")[0][0] >= goal, 20 + 2 * n)

    more(2)
    first.kill()
    more(2)
    second.signal(signal.SIGSTOP)
    more(sized(2, 20))
    redis.flushall()
    more(2)
    second.signal(signal.SIGCONT)
    third.kill()
    more(2)
    assert second.stop() == 0
    ticks = books.ask(
        "SELECT count(*), count(DISTINCT tick_at), count(task_id), count(DISTINCT task_id) FROM schedule_tick"
    )
    tasks = books.ask("SELECT count(*) FROM task")[0][0]
    assert ticks[0][0] == ticks[0][1]
    assert ticks[0][2] == ticks[0][3] == tasks
    assert books.ask(_GAPS)[0][0] <= 5
