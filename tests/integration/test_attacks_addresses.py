"""Addresses that no URL could be: refused where they are said, and no harm to others where they were stored."""

import pytest
from django.test import Client

from jobs.models import Platform
from jobs.operations import keys, platforms, tenants
from jobs.platforms import connections
from jobs.platforms.base import PlatformConfig
from jobs.platforms.wire import Wire
from tests.integration.admin_support import client_of
from tests.support import api
from tests.support.api import ApiClient, data, error

pytestmark = pytest.mark.usefixtures("engine")

ODD: tuple[str, ...] = (
    "https://[",
    "https://]",
    "https://a]b",
    "https://xn--",
    "https://xn--0",
    "http://a:-1",
)
ODD += ("http://a:+1", "http://a:1_0", "http://a:\u0661", "http://[::1]x", "http://a:b:1")


@pytest.fixture
def acme() -> ApiClient:
    made = keys.create(name="acme", scopes=["operate", "read"], tenant_id=tenants.create("acme").pk)
    return ApiClient(key=made.key, client=Client(raise_request_exception=False))


@pytest.mark.req("T-05", "A-04", "T-01")
@pytest.mark.parametrize("url", ODD)
def test_an_address_that_is_none_makes_no_platform(url: str, acme: ApiClient) -> None:
    asked = {"name": "p", "protocol": "fal", "base_url": url}
    assert error(acme.post("/platforms", asked), 422)["details"]["field"] == "base_url"
    assert not Platform.objects.exists()


@pytest.mark.req("T-05", "A-04")
@pytest.mark.parametrize("url", ODD)
def test_an_address_that_is_none_sinks_its_own_callback_alone(url: str) -> None:
    caller = api.client("submit")
    bad = {"type": "http:callback", "payload": {"url": url}}
    assert error(caller.post("/tasks", bad), 422)["details"]["field"] == "url"
    done = data(caller.post("/tasks/batch", {"tasks": [{"type": "debug:noop"}, bad]}))
    assert (done["accepted"], done["rejected"]) == (1, 1)


@pytest.mark.req("T-05", "E-05", "V-08")
def test_an_address_that_was_stored_by_a_tenant_breaks_no_page_of_the_house() -> None:
    house = api.client("admin")
    good = {"name": "good", "protocol": "fal", "base_url": "https://good.test:8443/x"}
    data(house.post("/platforms", good), 201)
    tenant = tenants.create("acme").pk
    Platform.objects.create(tenant_id=tenant, name="acme:odd", protocol="fal", base_url="https://[")
    names = [one["name"] for one in data(house.get("/breakers"))["items"]]
    assert "service:good.test:8443" in names
    data(house.post("/breakers/platform:good", {"state": "CLOSED"}))
    browser = client_of("root")
    for path in ("/admin/", "/admin/jobs/platform/", "/admin/jobs/breaker/"):
        assert browser.get(path).status_code == 200
    assert len(platforms.settings_of(list(Platform.objects.values_list("pk", flat=True)))) == 2


@pytest.mark.req("E-02", "T-05")
@pytest.mark.parametrize(
    "url", ["https://xn--", "https://xn--0/x", "https://p.test/\ud800", "https://["]
)
def test_an_address_in_an_answer_that_is_none_is_not_the_platforms_own(url: str) -> None:
    config = PlatformConfig(name="p", protocol="fal", base_url="https://p.test")
    wire = Wire(config, connections.Client())
    assert wire.own(url) is None
    assert wire.own("https://p.test/ok") == "https://p.test/ok"
