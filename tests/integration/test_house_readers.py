"""A key of the default tenant without scope admin sees the house's breakers and alerts, and no tenant's (T-01)."""

from typing import Any

import pytest

from jobs.contract.reader import contract
from jobs.models import Breaker, Platform
from jobs.operations import tenants
from jobs.operations.tasks import submit
from jobs.selectors import alerts
from jobs.selectors.figures import Figure
from tests.support import api
from tests.support.api import ApiClient, data, error

OWN = ["platform:good", "service:good.test"]
THEIRS = ["platform:acme:odd", "service:acme@odd.test"]


@pytest.fixture
def reader(engine: None) -> ApiClient:
    api.forget()
    for tenant_id, name, host in (
        (1, "good", "good"),
        (tenants.create("acme").pk, "acme:odd", "odd"),
    ):
        Platform.objects.create(
            tenant_id=tenant_id, name=name, protocol="fal", base_url=f"https://{host}.test"
        )
    for name in (*OWN, *THEIRS):
        Breaker.objects.create(name=name, state="OPEN", forced="OPEN")
    return api.client("operate", "read")


def _names(client: ApiClient) -> list[str]:
    return [one["name"] for one in data(client.get("/breakers"))["items"]]


@pytest.mark.req("T-01", "E-05", "T-02")
def test_a_key_of_the_house_without_admin_sees_and_forces_no_tenants_breaker(
    reader: ApiClient,
) -> None:
    assert _names(reader) == OWN
    assert _names(api.client("admin", name="boss")) == sorted([*OWN, *THEIRS])
    for name in THEIRS:
        error(reader.post(f"/breakers/{name}", {"state": None}), 404)
        assert Breaker.objects.get(name=name).forced == "OPEN"
    for name in OWN:
        assert data(reader.post(f"/breakers/{name}", {"state": None}))["forced"] is None


def _alerts(client: ApiClient) -> list[dict[str, Any]]:
    return [alert["labels"] for alert in data(client.get("/queue/overview"))["alerts"]]


@pytest.mark.req("T-01", "A-02", "T-02")
def test_a_key_of_the_house_without_admin_hears_no_tenants_alerts(reader: ApiClient) -> None:
    heard = [labels["breaker"] for labels in _alerts(reader) if "breaker" in labels]
    assert sorted(heard) == OWN
    everything = _alerts(api.client("admin", name="boss"))
    assert sorted(x["breaker"] for x in everything if "breaker" in x) == sorted([*OWN, *THEIRS])


@pytest.mark.req("T-01", "A-02")
def test_an_alert_on_a_tenants_queue_is_for_those_who_see_that_queue(engine: None) -> None:
    submit("debug:noop")
    metrics = {a.metric for a in contract().all_alerts() if a.queue is None}
    numbers = [
        Figure(
            name=name,
            help="x",
            kind="gauge",
            samples=[((("queue", queue),), 1e9) for queue in ("default", "acme:default")],
        )
        for name in metrics
    ]
    assert {hit.labels["queue"] for hit in alerts.firing(numbers)} == {"default", "acme:default"}
    assert {hit.labels["queue"] for hit in alerts.firing(numbers, house=True)} == {"default"}
