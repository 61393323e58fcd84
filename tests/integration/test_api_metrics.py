"""/metrics: the guide's names, true numbers, cheap, and there whatever is down."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from jobs.contract.reader import contract
from jobs.operations import duties, ledger
from jobs.operations.tasks import submit
from jobs.selectors import figures
from jobs.store import postgres
from jobs.store import redis as store_redis
from tests.support import api
from tests.support.engine import Hand, dead, retried, succeeded

BY_QUEUE = (
    "queue_size",
    "pending_tasks",
    "active_tasks",
    "scheduled_tasks",
    "retry_tasks",
    "dead_tasks",
)


@pytest.fixture(autouse=True)
def _fresh(transactional_db: None, redis: Any) -> None:
    api.forget()


def _scrape(**headers: str) -> dict[tuple[str, str], float]:
    """(sample, queue or "") → value."""
    response = Client().get("/metrics", headers=headers)
    assert response.status_code == 200
    families = text_string_to_metric_families(response.content.decode())
    return {(s.name, s.labels.get("queue", "")): s.value for f in families for s in f.samples}


@pytest.mark.req("M-01")
def test_the_guides_names_are_there_with_their_labels() -> None:
    seen = _scrape()
    for queue in contract().queues:
        for name in (
            *(f"asynq_{n}" for n in BY_QUEUE),
            "asynq_processed_total",
            "asynq_failed_total",
        ):
            assert seen[(name, queue)] == 0, (name, queue)
    for name in (
        "asynq_system_health",
        "asynq_active_workers",
        "worker_count",
        "backpressure_state",
    ):
        assert seen[(name, "")] == 0, name


@pytest.mark.req("M-01")
def test_the_numbers_are_those_of_the_rows() -> None:
    for type_ in ("debug:noop", "debug:noop", "debug:noop", "debug:noop"):
        submit(type_, queue="high")
    submit("debug:noop", queue="high", process_in=60)
    hand = Hand()
    claimed = hand.claim(want=3)
    for run, make in zip(claimed, (succeeded, retried, dead), strict=True):
        hand.settle([run], make)
    seen = _scrape()
    assert [seen[(f"asynq_{name}", "high")] for name in BY_QUEUE] == [3, 1, 0, 1, 1, 0]
    assert seen[("asynq_dead_tasks", "dead_letter")] == 1
    assert (seen[("asynq_processed_total", "high")], seen[("asynq_failed_total", "high")]) == (3, 2)
    assert seen[("asynq_system_health", "")] == 1
    assert seen[("asynq_active_workers", "")] == seen[("worker_count", "")] == 1
    duties.fold()
    assert [_scrape()[(f"asynq_{name}", "high")] for name in BY_QUEUE] == [3, 1, 0, 1, 1, 0]


@pytest.mark.req("M-02")
def test_every_metric_that_an_alert_names_is_exported() -> None:
    names = {f.name + ("_total" if f.kind == "counter" else "") for f in figures.figures()}
    assert {alert.metric for alert in contract().all_alerts()} - names == set()


@pytest.mark.req("M-01")
def test_a_scrape_changes_nothing_and_costs_the_same_for_more_tasks() -> None:
    def statements() -> list[str]:
        with CaptureQueriesContext(connection) as seen:
            _scrape()
        return [q["sql"] for q in seen]

    statements()
    few = statements()
    submit("debug:noop")
    assert len(statements()) == len(few)
    assert not [
        sql for sql in few if sql.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE"))
    ]
    assert not [sql for sql in few if " FOR " in sql.upper() and "UPDATE" in sql.upper()]


@pytest.fixture
def without_redis(settings: Any) -> Iterator[None]:
    store_redis.client.cache_clear()
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    yield
    store_redis.client.cache_clear()


@pytest.mark.req("M-01", "P-04")
def test_without_redis_metrics_and_health_still_answer(without_redis: None) -> None:
    seen = _scrape()
    assert (seen[("asynq_system_health", "")], seen[("taskcenter_redis_connected", "")]) == (0, 0)
    assert seen[("asynq_pending_tasks", "default")] == 0
    health = api.data(api.client("read").get("/queue/health"))
    assert (health["healthy"], health["redis_connected"], health["drift"]) == (False, False, None)


@pytest.mark.req("M-01")
def test_a_token_or_network_keeps_others_out_but_not_loopback(settings: Any) -> None:
    settings.TASKCENTER = {
        **settings.TASKCENTER,
        "METRICS_TOKEN": "s3",
        "METRICS_NETWORKS": ["10.0.0.0/8"],
    }
    statuses = {}
    for address in ("127.0.0.1", "10.1.2.3", "192.0.2.1"):
        statuses[address] = Client(REMOTE_ADDR=address).get("/metrics").status_code
    assert statuses == {"127.0.0.1": 200, "10.1.2.3": 200, "192.0.2.1": 403}
    far = Client(REMOTE_ADDR="192.0.2.1")
    assert far.get("/metrics", headers={"Authorization": "Bearer s3"}).status_code == 200
    settings.TASKCENTER = {**settings.TASKCENTER, "METRICS_TOKEN": "", "METRICS_NETWORKS": []}
    assert far.get("/metrics").status_code == 200


@pytest.mark.req("C-03")
def test_a_mismatch_in_the_ledger_is_seen() -> None:
    postgres.query("INSERT INTO account (tenant_id, user_id, balance) VALUES (1, 1, 5) RETURNING 1")
    assert ledger.Reconciler().step() == 1
    assert _scrape()[("taskcenter_ledger_mismatches", "")] == 1


@pytest.mark.req("P-07")
def test_a_lost_ticket_is_drift(redis: Any) -> None:
    submit("debug:noop")
    assert _scrape()[("taskcenter_drift_tasks", "")] == 0
    redis.delete("rq:queue:default")
    assert _scrape()[("taskcenter_drift_tasks", "")] == 1
