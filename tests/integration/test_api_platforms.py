"""The API of platforms and their breakers: what is refused, what is never shown."""

import pytest

from jobs.models import Platform
from jobs.operations import breakers, keys, tenants
from tests.support import api
from tests.support.api import ApiClient, data, error

NEW = {
    "name": "my-replicate",
    "protocol": "replicate",
    "base_url": "https://example.org",
    "credential": "r8_very",
}


@pytest.mark.req("A-02", "E-05")
def test_a_platforms_secrets_are_never_shown_again(caller: ApiClient) -> None:
    made = caller.post("/platforms", {**NEW, "webhook_secret": "whsec_very"})
    shown = data(made, 201)
    assert (shown["has_credential"], shown["has_webhook_secret"]) == (True, True)
    assert shown["breaker"]["state"] == "CLOSED"
    error(caller.post("/platforms", NEW), 409)
    data(caller.patch("/platforms/my-replicate", {"time_limit": 60, "credential": "r8_other_very"}))
    for path in ("/platforms", "/platforms/my-replicate", "/audit"):
        assert b"very" not in caller.get(path).content
    assert data(caller.get("/platforms/my-replicate"))["time_limit"] == 60
    error(caller.get("/platforms/none"), 404)
    error(caller.patch("/platforms/none", {}), 404)
    error(caller.post("/platforms", {**NEW, "name": "x", "protocol": "smtp"}), 422)
    error(caller.post("/platforms", {**NEW, "name": "Not A Name"}), 422)


@pytest.mark.req("T-05")
def test_private_addresses_for_a_platform_need_scope_admin(caller: ApiClient) -> None:
    asked = {**NEW, "allow_private": True}
    assert (
        error(api.client("operate", "read").post("/platforms", asked), 403)["code"] == "forbidden"
    )
    assert data(caller.post("/platforms", asked), 201)["allow_private"] is True


@pytest.mark.req("E-02", "A-03")
def test_all_that_is_wrong_with_a_platform_is_said_in_one_answer_without_its_secrets(
    caller: ApiClient,
) -> None:
    wrong = {
        **NEW,
        "credential": "r8_s3cret\n",
        "webhook_secret": "whsec_n0t base64",
        "base_url": "https://user:pw@example.org",
        "profile": "hasty",
        "options": {"pool_first_s": 1},
    }
    answer = caller.post("/platforms", wrong)
    faults = error(answer, 422)["details"]["faults"]
    assert sorted(fault["field"] for fault in faults) == sorted(
        ["base_url", "credential", "options", "profile", "webhook_secret"]
    )
    assert all(fault["message"] for fault in faults)
    for secret in (b"s3cret", b"n0t", b":pw"):
        assert secret not in answer.content
    one = error(caller.post("/platforms", {**NEW, "options": {"pool_first_s": 1}}), 422)
    assert one["details"]["field"] == "options"
    error(caller.get("/platforms/my-replicate"), 404)
    error(caller.post("/platforms", {**NEW, "name": "p\n"}), 422)


@pytest.mark.req("E-02")
def test_what_was_stored_before_is_judged_where_a_change_touches_it(caller: ApiClient) -> None:
    off = {"name": "g", "protocol": "generic", "base_url": "https://example.org", "enabled": False}
    data(caller.post("/platforms", off), 201)
    Platform.objects.filter(name="g").update(options={"colour": "red"})
    data(caller.patch("/platforms/g", {"time_limit": 60}))
    refused = error(caller.patch("/platforms/g", {"enabled": True}), 422)["details"]["faults"]
    assert len(refused) == 3
    good = {"submit": {"url": "/jobs"}, "poll": {"url": "/jobs/{id}"}}
    data(caller.patch("/platforms/g", {"enabled": True, "options": good}))
    data(caller.patch("/platforms/g", {"credential": "one-part"}))
    error(caller.patch("/platforms/g", {"protocol": "kling", "options": {}}), 422)
    data(caller.patch("/platforms/g", {"protocol": "kling", "options": {}, "credential": "a:b"}))


@pytest.mark.req("E-05")
def test_a_breaker_can_be_forced_and_released(caller: ApiClient) -> None:
    data(caller.post("/platforms", NEW), 201)
    forced = data(
        caller.post("/platforms/my-replicate/breaker", {"state": "OPEN", "reason": "outage"})
    )
    assert forced["forced"] == "OPEN"
    assert data(caller.get("/platforms/my-replicate/breaker"))["forced"] == "OPEN"
    released = data(caller.post("/platforms/my-replicate/breaker", {"state": None}))
    assert released["forced"] is None
    error(caller.post("/platforms/my-replicate/breaker", {"state": "BROKEN"}), 422)
    error(caller.get("/platforms/none/breaker"), 404)


@pytest.mark.req("E-05", "A-02")
def test_a_service_breaker_can_be_forced_before_any_request_has_asked_it(caller: ApiClient) -> None:
    data(caller.post("/platforms", NEW), 201)
    names = [item["name"] for item in data(caller.get("/breakers"))["items"]]
    assert names == ["platform:my-replicate", "service:example.org"]
    asked = {"state": "OPEN", "for": 600, "reason": "their maintenance"}
    forced = data(caller.post("/breakers/service:example.org", asked))
    assert (forced["forced"], forced["forced_reason"]) == ("OPEN", "their maintenance")
    assert forced["forced_by"].startswith("key:")
    shown = data(caller.get("/platforms/my-replicate"))
    assert shown["service_breaker"]["forced"] == "OPEN"
    assert 590 < shown["service_breaker"]["wait_s"] <= 600
    error(caller.post("/breakers/service:nobody.example", asked), 404)


@pytest.mark.req("E-05", "T-01")
def test_a_tenant_reads_why_its_service_is_held_but_not_who_of_the_house_did_it(
    caller: ApiClient,
) -> None:
    tenants.create("acme")
    made = keys.create(name="k", scopes=["admin"], tenant_id=tenants.id_of("acme"))
    theirs = ApiClient(key=made.key, client=caller.client)
    data(theirs.post("/platforms", NEW), 201)
    breakers.force("service:acme@example.org", "OPEN", by="user:ann", reason="outage")
    shown = data(theirs.get("/platforms/my-replicate"))["service_breaker"]
    assert (shown["forced_by"], shown["forced_reason"]) == ("", "outage")
    error(theirs.post("/breakers/service:acme@example.org", {"state": None}), 404)
