"""What one platform does - badly addressed, broken, refused - stops nobody else's on the same host."""

from typing import Any

import pytest

from jobs.lifecycle.breaker import service_name
from jobs.operations import breakers, keys, platforms, tenants
from jobs.operations.platforms import PlatformSpec
from jobs.operations.tasks import Submitted, submit
from jobs.store import catalog, postgres
from tests.support import api
from tests.support.api import ApiClient, data, error
from tests.support.engine import balance, entries, row
from tests.support.platforms import (
    TOKEN,
    USER,
    Pump,
    Stubbed,
    ask,
    fact,
    fast,
    last_error,
    pump,
    register,
    stub,
)

pytestmark = pytest.mark.usefixtures("engine", "fast")

__all__ = ["fast", "pump", "stub"]
CHARGE, REFUND = 2, 3
SUCCESS, FAILURE = 4, 5


def _breaker(name: str) -> tuple[str, int]:
    rows = postgres.query("SELECT state, failures FROM breaker WHERE name = %s", [name])
    return (str(rows[0][0]), int(rows[0][1])) if rows else ("CLOSED", 0)


def _private(name: str, allowed: bool) -> None:
    postgres.query(
        "UPDATE platform SET allow_private = %s WHERE name = %s RETURNING 1", [allowed, name]
    )
    catalog.forget()


@pytest.fixture
def guarded(settings: Any) -> None:
    """As where private addresses are not allowed to all."""
    settings.TASKCENTER = {**settings.TASKCENTER, "ALLOW_PRIVATE": False}


@pytest.mark.req("E-05", "T-01", "T-05", "C-02")
def test_a_submit_that_our_guard_refuses_fails_at_once_refunded_and_counts_for_no_service(
    stub: Stubbed, pump: Pump, guarded: None
) -> None:
    register("inner", stub.server.base_url)
    _private("inner", False)
    made = [ask("inner", cost=30) for _ in range(6)]
    calls = len(stub.server.log())
    pump.ends(*made)
    assert len(stub.server.log()) == calls
    assert [row(task.id, "status") for task in made] == [FAILURE] * 6
    assert "never left" in last_error(made[0]) and "not a public address" in last_error(made[0])
    assert entries(made[0].id) == [(CHARGE, -30), (REFUND, 30)]
    assert balance(USER) == 180
    assert fact(made[0], "submit_started_at") is None
    for name in ("platform:inner", service_name(stub.server.base_url)):
        assert _breaker(name) == ("CLOSED", 0)
    good = ask(seconds=0.1)
    pump.ends(good)
    assert row(good.id, "status") == SUCCESS


@pytest.mark.req("E-05", "T-05")
def test_polls_that_our_guard_refuses_open_the_platforms_own_breaker_and_no_other(
    stub: Stubbed, pump: Pump, guarded: None
) -> None:
    register("inner", stub.server.base_url)
    made = [ask("inner", seconds=60) for _ in range(6)]
    pump.until(lambda: all(fact(task, "external_id") for task in made))
    breakers.record(breakers.admit("x", service_name(stub.server.base_url), 1), [_nothing()])
    _private("inner", False)
    pump.until(lambda: _breaker("platform:inner")[0] == "OPEN")
    assert _breaker(service_name(stub.server.base_url)) == ("CLOSED", 1)


@pytest.mark.req("T-05", "A-04")
def test_a_platform_at_a_private_address_needs_leave_when_it_is_saved_not_when_it_is_used(
    stub: Stubbed, pump: Pump, guarded: None, settings: Any
) -> None:
    caller = api.client("admin")
    new = {"name": "p", "protocol": "replicate", "base_url": stub.server.base_url}
    new["credential"] = TOKEN
    answer = caller.post("/platforms", new)
    assert error(answer, 422)["details"]["field"] == "base_url"
    assert "allow_private" in answer.content.decode()
    data(caller.post("/platforms", {**new, "allow_private": True}), 201)
    refused = error(caller.patch("/platforms/p", {"allow_private": False}), 422)
    assert refused["details"]["field"] == "base_url"
    data(caller.post("/platforms", {**new, "name": "later", "enabled": False}), 201)
    error(caller.patch("/platforms/later", {"enabled": True}), 422)
    settings.TASKCENTER = {**settings.TASKCENTER, "ALLOW_PRIVATE": True}
    data(caller.patch("/platforms/later", {"enabled": True}))
    catalog.forget()
    made = ask("later", seconds=0)
    pump.ends(made)
    assert row(made.id, "status") == SUCCESS


def _nothing() -> breakers.Heard:
    return breakers.Heard.NOTHING


@pytest.mark.req("E-05")
def test_a_request_that_was_kept_here_gives_the_services_probe_back() -> None:
    for _ in range(5):
        breakers.record(breakers.admit("p", "service:s", 1), [breakers.Heard.NOTHING])
    postgres.query("UPDATE breaker SET opened_at = now() - interval '1 hour' RETURNING 1")
    taken = breakers.admit("other", "service:s", 3)
    assert taken.allowed == 3
    breakers.record(taken, [breakers.Heard.KEPT] * 3)
    assert breakers.admit("third", "service:s", 3).allowed == 3


def _tenants_platform(slug: str, base_url: str) -> int:
    tenant = tenants.create(slug).pk
    spec = PlatformSpec(
        name=f"{slug}:p",
        protocol="replicate",
        base_url=base_url,
        credential="wrong" if slug == "evil" else TOKEN,
        allow_private=True,
    )
    platforms.create(spec, tenant_id=tenant)
    catalog.forget()
    return int(tenant)


def _asked(tenant: int) -> Submitted:
    return submit("platform:run", {"version": "v1", "input": {}}, platform="p", tenant_id=tenant)


@pytest.mark.req("E-05", "T-01")
def test_what_one_tenant_hears_of_a_host_holds_up_no_other_tenant(
    stub: Stubbed, pump: Pump
) -> None:
    evil = _tenants_platform("evil", f"{stub.server.base_url}/no/such/place")
    good = _tenants_platform("good", stub.server.base_url)
    host = stub.server.base_url.partition("://")[2]
    stub.app.down = True
    [_asked(evil) for _ in range(5)]
    pump.until(lambda: _breaker(f"service:evil@{host}")[0] == "OPEN")
    stub.app.down = False
    assert _breaker(f"service:{host}") == _breaker(f"service:good@{host}") == ("CLOSED", 0)
    made = [ask(seconds=0), _asked(good)]
    pump.ends(*made)
    assert [row(task.id, "status") for task in made] == [SUCCESS] * 2


@pytest.mark.req("E-05", "T-01")
def test_the_house_sees_and_forces_a_tenants_service_breaker_by_its_own_name(
    stub: Stubbed, pump: Pump
) -> None:
    tenant = _tenants_platform("acme", stub.server.base_url)
    name = f"service:acme@{stub.server.base_url.partition('://')[2]}"
    house = api.client("admin")
    assert name in [one["name"] for one in data(house.get("/breakers"))["items"]]
    data(house.post(f"/breakers/{name}", {"state": "OPEN", "for": 600, "reason": "abuse"}))
    made = _asked(tenant)
    pump.step()
    assert stub.created == 0 and row(made.id, "state") == 3
    made_key = keys.create(name="k", scopes=["operate", "read"], tenant_id=tenant)
    theirs = ApiClient(key=made_key.key, client=house.client)
    shown = data(theirs.get("/platforms/p"))["service_breaker"]
    assert (shown["name"], shown["forced"], shown["forced_by"]) == (name, "OPEN", "")
    error(theirs.post(f"/breakers/{name}", {"state": None}), 404)
    data(house.post(f"/breakers/{name}", {"state": None}))
    pump.ends(made)
