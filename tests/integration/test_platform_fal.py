"""fal's queue: our adapter and the vendor's own client against the same stub."""

import json
import time
from collections.abc import Iterator
from typing import Any

import fal_client
import pytest

from jobs.domain.states import Status
from jobs.platforms import base, fal
from jobs.platforms.base import Adapter, PollResult
from jobs.platforms.webhooks import WebhookRefused
from taskcenter.demo.stub_http import StubServer
from tests.stubs import fal_stub
from tests.stubs.fal_stub import FalStub
from tests.stubs.harness import asked, platform, poll_one, talk

Pair = tuple[StubServer, FalStub]


@pytest.fixture
def pair() -> Iterator[Pair]:
    server, stub = fal_stub.serve()
    with server:
        yield server, stub
    fal.forget_keys()


def payload(**arguments: Any) -> dict[str, Any]:
    return {"app": "fal-ai/flux/dev", "arguments": arguments}


def submitted(pair: Pair, **arguments: Any) -> base.Accepted:
    result = talk(
        platform("fal", pair[0].base_url), lambda a: a.submit(asked(payload(**arguments)))
    )
    assert isinstance(result, base.Accepted), result
    return result


def polled(pair: Pair, accepted: base.Accepted) -> PollResult:
    config = platform("fal", pair[0].base_url)
    return talk(config, lambda a: poll_one(a, accepted.external_id, accepted.urls))


@pytest.mark.req("E-02")
def test_the_vendors_own_client_submits_waits_and_cancels_against_the_stub(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fal_client.client.QUEUE_URL_FORMAT", pair[0].base_url + "/")
    client = fal_client.SyncClient(key="tok")
    handle = client.submit("fal-ai/flux/dev", {"seconds": 0.1})
    assert isinstance(handle.status(), fal_client.Queued | fal_client.InProgress)
    assert handle.get()["images"][0]["url"].endswith("1.png")
    ours = submitted(pair, seconds=30)
    theirs = client.get_handle("fal-ai/flux/dev", ours.external_id)
    assert (theirs.status_url, theirs.response_url) == (ours.urls["status"], ours.urls["response"])
    theirs.cancel()
    ended = theirs.status()
    assert isinstance(ended, fal_client.Completed) and ended.error_type == "client_cancelled"


@pytest.mark.req("E-01", "E-02")
def test_a_request_is_queued_with_the_urls_that_fal_gave_and_without_its_retries(
    pair: Pair,
) -> None:
    accepted = submitted(pair, seconds=30)
    assert (accepted.status, accepted.raw_status) == (Status.QUEUED, "IN_QUEUE")
    assert (
        accepted.urls["status"]
        == f"{pair[0].base_url}/fal-ai/flux/requests/{accepted.external_id}/status"
    )
    running = polled(pair, accepted)
    assert isinstance(running, base.Running) and running.status is Status.QUEUED


@pytest.mark.req("E-01")
def test_completed_means_success_failure_or_cancellation(pair: Pair) -> None:
    succeeded = polled(pair, submitted(pair))
    assert isinstance(succeeded, base.Succeeded)
    assert succeeded.result == {"images": [{"url": "https://fal.media/1.png"}]}
    failed = polled(pair, submitted(pair, error_type="runner_disconnected"))
    assert isinstance(failed, base.Failed) and failed.reason == "it ended by runner_disconnected"
    assert isinstance(polled(pair, submitted(pair, error_type="client_cancelled")), base.Cancelled)
    for code in (422, 500):
        assert isinstance(polled(pair, submitted(pair, app_status=code)), base.Failed)


EXPECTED: dict[str, type[PollResult]] = {
    "unknown_status": base.Unrecognised,
    "empty_status": base.Running,
    "backwards": base.Unrecognised,
    "nul": base.Unrecognised,
}


@pytest.mark.req("R-05", "F07")
@pytest.mark.parametrize(
    "kind", ["html", "204", "nan", "huge", "truncated", "list", "no_status", "redirect", "500"]
)
def test_a_broken_status_is_a_contact_error(pair: Pair, kind: str) -> None:
    assert isinstance(polled(pair, submitted(pair, seconds=30, malformed=kind)), base.TransientPoll)


@pytest.mark.req("R-05", "F07")
@pytest.mark.parametrize("kind", sorted(EXPECTED))
def test_an_unknown_word_is_reported_and_not_an_end(pair: Pair, kind: str) -> None:
    assert isinstance(polled(pair, submitted(pair, seconds=30, malformed=kind)), EXPECTED[kind])


@pytest.mark.req("E-01")
def test_cancel_is_requested_too_late_or_not_found(pair: Pair) -> None:
    config = platform("fal", pair[0].base_url)

    def cancel(accepted: base.Accepted, **changed: str) -> base.CancelResult:
        request = base.PollRequest(
            task_id="t", external_id=accepted.external_id, urls=accepted.urls | changed
        )
        return talk(config, lambda a: a.cancel(request))

    running = submitted(pair, seconds=30)
    assert isinstance(cancel(running), base.CancelRequested)
    assert isinstance(polled(pair, running), base.Cancelled)
    assert isinstance(cancel(submitted(pair)), base.TooLate)
    missing = f"{pair[0].base_url}/fal-ai/flux/requests/none/cancel"
    assert isinstance(cancel(running, cancel=missing), base.CancelNotFound)


@pytest.mark.req("T-05", "S24")
@pytest.mark.parametrize("app", ["flux", "../etc/x", "a/../b", "a/b?x=1", "a//b", "a/b#c", "", 3])
def test_an_app_that_is_no_path_is_rejected_without_a_request(pair: Pair, app: Any) -> None:
    request = asked({"app": app, "arguments": {}})
    result = talk(platform("fal", pair[0].base_url), lambda a: a.submit(request))
    assert isinstance(result, base.Rejected)
    assert pair[0].log() == []


@pytest.mark.req("E-04")
@pytest.mark.parametrize("stored", [True, False])
def test_a_webhook_is_verified_with_keys_that_are_stored_or_fetched(
    pair: Pair, stored: bool
) -> None:
    server, stub = pair
    secret = json.dumps(stub.jwks()) if stored else ""
    url = f"{server.base_url}/.well-known/jwks.json"
    config = platform("fal", server.base_url, webhook_secret=secret, options={"jwks_url": url})
    event = {"request_id": "r1", "status": "OK", "payload": {"x": 1}, "error": None}
    body, now_s = json.dumps(event).encode(), time.time()
    headers = stub.signed("r1", body, int(now_s))

    async def work(adapter: Adapter) -> base.WebhookHint:
        for _ in range(2):
            await adapter.prepare_webhook(now_s)
        adapter.verify_webhook(headers, body, now_s)
        with pytest.raises(WebhookRefused):
            adapter.verify_webhook(headers, body + b" ", now_s)
        return adapter.parse_webhook(headers, body)

    hint = talk(config, work)
    assert hint.external_id == "r1"
    assert hint.result == base.Succeeded(result={"x": 1}, raw_status="COMPLETED")
    assert len(server.log("GET")) == (0 if stored else 1)


@pytest.mark.req("E-04")
def test_without_keys_at_hand_no_webhook_is_believed(pair: Pair) -> None:
    headers = pair[1].signed("r1", b"{}", int(time.time()))

    async def work(adapter: Adapter) -> None:
        with pytest.raises(WebhookRefused):
            adapter.verify_webhook(headers, b"{}", time.time())

    talk(platform("fal", pair[0].base_url), work)
