"""Replicate: our adapter and the vendor's own client against the same stub."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from replicate.client import Client
from replicate.exceptions import ReplicateError

from jobs.domain.states import Status
from jobs.platforms import base
from jobs.platforms.base import Adapter, PollResult
from jobs.platforms.webhooks import WebhookRefused
from taskcenter.demo import replicate_stub
from taskcenter.demo.faults import KINDS
from taskcenter.demo.stub_http import Reply, StubRequest, StubServer
from tests.stubs.harness import asked, platform, poll_one, talk
from tests.support.wait import eventually

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def server() -> Iterator[StubServer]:
    server, _ = replicate_stub.serve(token="tok", webhook_secret=SECRET)
    with server:
        yield server


def payload(**given: Any) -> dict[str, Any]:
    return {"version": "v1", "input": given}


def created_and_polled(server: StubServer, **given: Any) -> PollResult:
    async def work(adapter: Adapter) -> PollResult:
        accepted = await adapter.submit(asked(payload(**given)))
        assert isinstance(accepted, base.Accepted)
        return await poll_one(adapter, accepted.external_id, accepted.urls)

    return talk(platform("replicate", server.base_url), work)


@pytest.mark.req("E-02")
def test_the_vendors_own_client_creates_waits_and_cancels_against_the_stub(
    server: StubServer,
) -> None:
    client = Client(api_token="tok", base_url=server.base_url)
    client.poll_interval = 0.02
    prediction = client.predictions.create(version="v1", input={"seconds": 0.1, "output": ["a"]})
    assert prediction.status == "starting"
    prediction.wait()
    assert (prediction.status, prediction.output) == ("succeeded", ["a"])
    failing = client.predictions.create(version="v1", input={"seconds": 0, "outcome": "failed"})
    failing.reload()
    assert (failing.status, failing.error) == ("failed", "The stub was told to fail")
    running = client.predictions.create(version="v1", input={"never_ends": True})
    running.cancel()
    assert client.predictions.get(running.id).status == "canceled"
    assert client.predictions.list().results[0].id == running.id
    with pytest.raises(ReplicateError):
        Client(api_token="no", base_url=server.base_url).predictions.get(running.id)


@pytest.mark.req("E-01", "E-02")
@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_a_prediction_is_accepted_with_its_id_and_urls(server: StubServer, suffix: str) -> None:
    accepted = talk(
        platform("replicate", server.base_url + suffix),
        lambda a: a.submit(asked(payload(never_ends=True))),
    )
    assert isinstance(accepted, base.Accepted)
    assert (accepted.status, accepted.raw_status) == (Status.SUBMITTED, "starting")
    assert accepted.urls["get"].endswith(accepted.external_id)
    assert [e["path"] for e in server.log("POST")] == ["/v1/predictions"]


@pytest.mark.req("E-01")
def test_each_end_is_told_with_what_belongs_to_it(server: StubServer) -> None:
    succeeded = created_and_polled(server, seconds=0, output=["x"])
    assert isinstance(succeeded, base.Succeeded)
    assert succeeded.result == {"output": ["x"], "metrics": {"predict_time": 0.0}}
    failed = created_and_polled(server, seconds=0, outcome="failed")
    assert isinstance(failed, base.Failed)
    assert failed.reason == "The stub was told to fail"
    assert isinstance(created_and_polled(server, seconds=0, outcome="canceled"), base.Cancelled)
    running = created_and_polled(server, never_ends=True)
    assert isinstance(running, base.Running)
    assert running.status is Status.SUBMITTED


@pytest.mark.req("R-04")
def test_progress_is_read_from_the_logs(server: StubServer) -> None:
    async def work(adapter: Adapter) -> None:
        accepted = await adapter.submit(asked(payload(seconds=0.4)))
        assert isinstance(accepted, base.Accepted)
        deadline_s = time.monotonic() + 5
        while time.monotonic() < deadline_s:
            result = await poll_one(adapter, accepted.external_id)
            if isinstance(result, base.Running) and result.status is Status.IN_PROGRESS:
                assert result.progress is not None
                return
        raise AssertionError("never in progress")

    talk(platform("replicate", server.base_url), work)


EXPECTED: dict[str, type[PollResult]] = {
    "nul": base.Succeeded,
    "unknown_status": base.Unrecognised,
    "empty_status": base.Running,
    "backwards": base.Running,
    "success_then_failed": base.Succeeded,
}


@pytest.mark.req("R-05", "F07", "S24")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hang"])
def test_a_broken_answer_is_a_contact_error_and_never_an_exception(
    server: StubServer, kind: str
) -> None:
    result = created_and_polled(server, never_ends=True, malformed=kind)
    assert isinstance(result, EXPECTED.get(kind, base.TransientPoll)), result
    if isinstance(result, base.Running) and kind == "empty_status":
        assert result.status is Status.EMPTY


@pytest.mark.req("R-05")
def test_a_flapping_platform_tells_when_to_come_back(server: StubServer) -> None:
    async def work(adapter: Adapter) -> list[PollResult]:
        accepted = await adapter.submit(asked(payload(never_ends=True, flap=True)))
        assert isinstance(accepted, base.Accepted)
        return [await poll_one(adapter, accepted.external_id) for _ in range(4)]

    first, second, third, fourth = talk(platform("replicate", server.base_url), work)
    assert isinstance(first, base.Running) and isinstance(fourth, base.Running)
    for flapped in (second, third):
        assert isinstance(flapped, base.TransientPoll)
        assert flapped.retry_after_s == 1.0


@pytest.mark.req("E-03", "F07")
@pytest.mark.parametrize(
    ("on_create", "kind"),
    [
        ("drop", base.Ambiguous),
        ("html", base.Ambiguous),
        ("204", base.Ambiguous),
        ("500", base.Ambiguous),
        ("429", base.Transient),
        ("503", base.Transient),
        ("422", base.Rejected),
    ],
)
def test_a_submit_without_a_clear_answer_is_ambiguous_and_sent_once(
    server: StubServer, on_create: str, kind: type[base.SubmitResult]
) -> None:
    result = talk(
        platform("replicate", server.base_url),
        lambda a: a.submit(asked(payload(on_create=on_create))),
    )
    assert isinstance(result, kind)
    assert len(server.log("POST")) == 1


@pytest.mark.req("E-03")
def test_a_read_timeout_after_the_request_left_is_ambiguous(
    server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.platforms.http.TOTAL_S", 0.3)
    result = talk(
        platform("replicate", server.base_url), lambda a: a.submit(asked(payload(on_create="hang")))
    )
    assert isinstance(result, base.Ambiguous)
    assert len(server.log("POST")) == 1


@pytest.mark.req("E-01", "E-03")
def test_what_certainly_created_nothing_is_transient(server: StubServer) -> None:
    wrong = talk(
        platform("replicate", server.base_url, "bad"), lambda a: a.submit(asked(payload()))
    )
    assert isinstance(wrong, base.Transient)
    assert "credential" in wrong.reason
    for config in (
        platform("replicate", "http://127.0.0.1:1"),
        platform("replicate", server.base_url, "line\nfeed"),
    ):
        assert isinstance(talk(config, lambda a: a.submit(asked(payload()))), base.Transient)
    guarded = platform("replicate", server.base_url, allow_private=False)
    kept = talk(guarded, lambda a: a.submit(asked(payload())))
    assert isinstance(kept, base.Rejected)
    assert kept.unsent


@pytest.mark.req("E-01")
def test_a_payload_that_is_no_prediction_is_rejected_without_a_request(server: StubServer) -> None:
    result = talk(platform("replicate", server.base_url), lambda a: a.submit(asked({"input": 1})))
    assert isinstance(result, base.Rejected)
    assert server.log() == []


@pytest.mark.req("E-01")
def test_cancel_says_done_too_late_or_not_found(server: StubServer) -> None:
    async def cancel(adapter: Adapter, **given: Any) -> base.CancelResult:
        accepted = await adapter.submit(asked(payload(**given)))
        assert isinstance(accepted, base.Accepted)
        return await adapter.cancel(
            base.PollRequest(task_id="t", external_id=accepted.external_id, urls=accepted.urls)
        )

    config = platform("replicate", server.base_url)
    assert isinstance(talk(config, lambda a: cancel(a, never_ends=True)), base.CancelDone)
    assert isinstance(talk(config, lambda a: cancel(a, seconds=0)), base.TooLate)
    missing = base.PollRequest(task_id="t", external_id="none")
    assert isinstance(talk(config, lambda a: a.cancel(missing)), base.CancelNotFound)
    down = platform("replicate", "http://127.0.0.1:1")
    assert isinstance(talk(down, lambda a: a.cancel(missing)), base.CancelTransient)


@pytest.mark.req("E-01")
def test_a_prediction_that_is_gone_is_not_found(server: StubServer) -> None:
    result = talk(platform("replicate", server.base_url), lambda a: poll_one(a, "none"))
    assert isinstance(result, base.NotFound)


@pytest.mark.req("T-05", "S24")
def test_the_credential_never_leaves_the_platforms_own_origin(server: StubServer) -> None:
    with StubServer(lambda request: Reply(body={"id": "p", "status": "succeeded"})) as other:
        urls = {"get": f"{other.base_url}/v1/predictions/p"}
        result = talk(platform("replicate", server.base_url), lambda a: poll_one(a, "p", urls))
        assert isinstance(result, base.TransientPoll)
        assert other.log() == []


@pytest.mark.req("E-04")
def test_a_signed_webhook_brings_the_end_and_a_forged_one_is_refused(server: StubServer) -> None:
    got: list[StubRequest] = []

    def receive(request: StubRequest) -> Reply:
        got.append(request)
        return Reply(body={})

    config = platform("replicate", server.base_url, webhook_secret=SECRET)
    with StubServer(receive) as receiver:
        request = asked(
            payload(seconds=0, output="o", webhook_twice=True),
            webhook_url=f"{receiver.base_url}/hook",
        )
        accepted = talk(config, lambda a: a.submit(request))
        eventually(lambda: len(got) >= 2, timeout_s=10)

    async def read(adapter: Adapter) -> base.WebhookHint:
        with pytest.raises(WebhookRefused):
            adapter.verify_webhook(got[0].headers, got[0].body + b" ", time.time())
        adapter.verify_webhook(got[0].headers, got[0].body, time.time())
        return adapter.parse_webhook(got[0].headers, got[0].body)

    hint = talk(config, read)
    assert isinstance(accepted, base.Accepted) and isinstance(hint.result, base.Succeeded)
    assert hint.external_id == accepted.external_id
    assert hint.delivery_id == got[0].headers["webhook-id"]
