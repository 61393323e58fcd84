"""The read door, where the API's tests don't look."""

from typing import Any

import pytest

from jobs.domain import ids
from jobs.domain.errors import Malformed, TaskNotFound
from jobs.operations import readings, tenants
from jobs.operations.tasks import submit
from jobs.selectors import alerts, queues, rates, task_history, task_pages, tasks
from jobs.selectors.figures import Figure
from jobs.selectors.masking import masked
from jobs.selectors.task_filters import TaskFilter
from jobs.selectors.task_view import run_number
from jobs.store import postgres
from tests.support import api
from tests.support.engine import Hand, succeeded


@pytest.fixture(autouse=True)
def _fresh(transactional_db: None, redis: Any) -> None:
    api.forget()


@pytest.mark.req("T-01")
def test_another_tenants_task_is_not_there_for_any_reader() -> None:
    made = submit("debug:noop")
    assert tenants.create("other").pk == 2
    for read in (tasks.get, tasks.place, task_history.attempts, task_history.events):
        with pytest.raises(TaskNotFound):
            read(made.id, 2)
    assert tasks.listing(TaskFilter(), tenant_id=2).items == []
    assert task_pages.page("default", "pending", tenant_id=2).items == []


@pytest.mark.req("Q-06")
@pytest.mark.parametrize(
    ("state", "runs", "n"), [(1, 0, 0), (2, 1, 0), (4, 1, 1), (2, 2, 1), (6, 2, 1), (6, 0, 0)]
)
def test_a_job_id_counts_the_runs_begun_before(state: int, runs: int, n: int) -> None:
    assert run_number(state, runs) == n


@pytest.mark.req("A-04")
def test_totals_are_exact_while_that_is_cheap_and_honest_estimates_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for n in range(5):
        submit("debug:noop", user_id=n % 2)
    wanted = TaskFilter(user_id=0)
    assert tasks.listing(wanted, limit=1).estimated_total == 3
    assert tasks.listing(TaskFilter(state="pending"), limit=1).estimated_total == 5
    monkeypatch.setattr(tasks, "_CHEAP_COST", 0.0)
    assert tasks.listing(wanted, limit=1).estimated_total >= 1


@pytest.mark.req("A-04")
def test_a_foreign_cursor_is_refused() -> None:
    with pytest.raises(Malformed):
        tasks.listing(TaskFilter(), after="not a cursor")


@pytest.mark.req("B-01")
def test_utilisation_counts_pending_tasks_only() -> None:
    postgres.query("UPDATE queue SET capacity = 4 WHERE name = 'low' RETURNING 1")
    submit("debug:noop", queue="low")
    submit("debug:noop", queue="low", process_in=60)
    found = queues.get("low")
    assert found is not None
    assert (found.utilization, found.pending, found.scheduled) == (0.25, 1, 1)


@pytest.mark.req("V-02", "AF08")
def test_the_oldest_pending_task_is_found_at_the_front_too() -> None:
    submit("debug:noop", queue="low", front=True)
    postgres.query("UPDATE task SET ord = ord + 100000000 WHERE ord < 0 RETURNING 1")  # 100 s older
    submit("debug:noop", queue="low")
    found = queues.get("low")
    assert found is not None
    assert 99 < found.oldest_pending_s < 130


@pytest.mark.req("V-01")
def test_rates_count_from_the_first_reading_within_their_span() -> None:
    assert rates.over([60.0, 3600.0], queues.totals()) == [rates.NOTHING, rates.NOTHING]
    submit("debug:noop")
    _note(ago_s=600)
    submit("debug:noop")
    submit("debug:noop")
    hand = Hand()
    hand.settle(hand.claim(want=1), succeeded)
    _note(ago_s=50)
    submit("debug:noop")
    minute, hour = rates.over([60.0, 3600.0], queues.totals())
    assert (minute.processed, minute.submitted, round(minute.span_s)) == (0, 1, 50)
    assert (hour.processed, hour.submitted, round(hour.span_s)) == (1, 3, 600)
    assert hour.per_s == round(1 / 600, 3)


@pytest.mark.req("V-01")
def test_one_reading_is_kept_for_five_seconds_and_none_beyond_the_hour() -> None:
    _note(ago_s=3_800)
    _note(ago_s=3_000)
    for _ in range(3):
        readings.note()
    ages = [age_s for (age_s,) in postgres.query("SELECT now() - at FROM rate_reading ORDER BY at")]
    assert 2 <= len(ages) <= 3
    assert 2_990 < ages[0].total_seconds() < 3_010


def _note(*, ago_s: int) -> None:
    assert readings.note()
    postgres.query(
        "UPDATE rate_reading SET slot = slot - %(ago)s / 5, at = at - %(ago)s * interval '1 second'"
        " WHERE slot = (SELECT max(slot) FROM rate_reading) RETURNING 1",
        {"ago": ago_s},
    )


@pytest.mark.req("M-06")
def test_alerts_fire_on_present_values_the_worst_first() -> None:
    def gauge(name: str, value: float, **labels: str) -> Figure:
        return Figure(name=name, help="", kind="gauge", samples=[(tuple(labels.items()), value)])

    found = alerts.firing([gauge("worker_count", 0), gauge("asynq_retry_tasks", 51, queue="low")])
    assert [(f.name, f.severity) for f in found] == [
        ("WorkersOffline", "critical"),
        ("TooManyRetries", "warning"),
    ]
    assert found[1].labels == {"queue": "low"}
    assert (
        alerts.firing([gauge("worker_count", 1), gauge("asynq_retry_tasks", 50, queue="low")]) == []
    )


@pytest.mark.req("T-04")
def test_masking_reaches_every_depth_and_leaves_the_original() -> None:
    value = {"a": [{"Client-Secret": 1, "b": ({"access_token": "x"},)}], "tokens": ["t"]}
    assert masked(value) == {
        "a": [{"Client-Secret": "********", "b": [{"access_token": "********"}]}],
        "tokens": "********",
    }
    assert value["tokens"] == ["t"]


@pytest.mark.req("A-04")
def test_a_wait_counts_a_missing_task_as_ended() -> None:
    made = submit("debug:noop")
    assert tasks.unfinished([made.id, ids.new_id()]) == {made.id}
