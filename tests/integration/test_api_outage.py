"""What the faces say while a store is away."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from jobs.operations import tickets
from jobs.store import redis as store_redis
from queues_admin.api import auth
from tests.support import api
from tests.support.api import ApiClient, data, error

NOOP = {"type": "debug:noop"}


@pytest.fixture
def caller(transactional_db: None, redis: Any) -> ApiClient:
    api.forget()
    return api.client("admin")


@pytest.fixture
def without_postgres(caller: ApiClient) -> Iterator[None]:
    """This process' connection leads nowhere until the test is over."""
    port = connection.settings_dict["PORT"]
    connection.close()
    connection.settings_dict["PORT"] = 1
    yield
    connection.close()
    connection.settings_dict["PORT"] = port


@pytest.mark.req("P-05", "A-03")
def test_without_postgres_the_api_answers_503_and_when_to_come_back(
    caller: ApiClient, without_postgres: None
) -> None:
    for method, path, body in (
        ("POST", "/tasks", NOOP),
        ("POST", "/tasks/batch", {"tasks": [NOOP]}),
        ("GET", "/tasks", None),
        ("GET", "/queue/stats", None),
        ("POST", "/queues/low/pause", None),
    ):
        auth.forget()
        response = caller.call(method, path, body)
        assert error(response, 503)["code"] == "unavailable", path
        assert int(response.headers["Retry-After"]) > 0


@pytest.mark.req("P-05", "M-05", "M-01")
def test_without_postgres_the_probes_and_metrics_say_so(without_postgres: None) -> None:
    client = Client(raise_request_exception=False)
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert (ready.status_code, ready.headers["Retry-After"]) == (503, "5")
    metrics = client.get("/metrics")
    assert metrics.status_code == 200
    for line in (
        "asynq_system_health 0.0",
        "taskcenter_postgres_connected 0.0",
        "worker_count 0.0",
    ):
        assert line in metrics.content.decode().splitlines()


@pytest.mark.req("P-04", "AC09")
def test_without_redis_a_submit_is_accepted_and_says_that_it_is_deferred(
    caller: ApiClient, settings: Any
) -> None:
    store_redis.client.cache_clear()
    store_redis.script.cache_clear()
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    try:
        made = data(caller.post("/tasks", NOOP), 201)
        assert (made["state"], made["deferred"]) == ("pending", True)
        assert data(caller.get(f"/tasks/{made['task_id']}"))["deferred"] is True
        assert Client().get("/readyz").status_code == 200
    finally:
        store_redis.client.cache_clear()
        store_redis.script.cache_clear()
        tickets.forget()
