"""OpenAI batches: our adapter and the vendor's own client against the same stub."""

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from jobs.domain.states import Status
from jobs.platforms import base
from jobs.platforms.base import Adapter, PollResult
from jobs.platforms.webhooks import WebhookRefused, sign_standard
from taskcenter.demo.stub_http import StubServer
from tests.stubs import openai_stub
from tests.stubs.harness import asked, platform, poll_one, talk
from tests.stubs.openai_stub import OpenAIStub

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
Pair = tuple[StubServer, OpenAIStub]


@pytest.fixture
def pair() -> Iterator[Pair]:
    server, stub = openai_stub.serve()
    with server:
        yield server, stub


def payload(**metadata: str) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    return {"endpoint": "/v1/chat/completions", "requests": [body], "metadata": metadata}


def submitted(pair: Pair, **metadata: str) -> base.Accepted:
    config = platform("openai_batch", pair[0].base_url + "/v1")
    result = talk(config, lambda a: a.submit(asked(payload(**metadata))))
    assert isinstance(result, base.Accepted), result
    return result


def polled(pair: Pair, **metadata: str) -> PollResult:
    accepted = submitted(pair, **metadata)
    config = platform("openai_batch", pair[0].base_url)
    return talk(config, lambda a: poll_one(a, accepted.external_id))


@pytest.mark.req("E-02")
def test_the_vendors_own_client_uploads_creates_and_cancels_against_the_stub(pair: Pair) -> None:
    client = openai.OpenAI(api_key="tok", base_url=pair[0].base_url + "/v1", max_retries=0)
    stored = client.files.create(file=("batch.jsonl", io.BytesIO(b"{}")), purpose="batch")
    batch = client.batches.create(
        input_file_id=stored.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert client.batches.retrieve(batch.id).status == "validating"
    assert client.batches.cancel(batch.id).status == "cancelling"
    ours = submitted(pair, status="completed")
    theirs = client.batches.retrieve(ours.external_id)
    assert (theirs.status, theirs.output_file_id) == ("completed", "file-out")
    assert [b.id for b in client.batches.list()] == [ours.external_id, batch.id]


@pytest.mark.req("E-01", "E-02")
def test_a_batch_is_a_file_of_lines_and_carries_our_reference(pair: Pair) -> None:
    accepted = submitted(pair)
    assert (accepted.status, accepted.raw_status) == (Status.SUBMITTED, "validating")
    batch = pair[1].batches[accepted.external_id]
    assert batch["metadata"]["taskcenter_reference"] == "ref-1"
    lines = [
        line for line in pair[1].files[batch["input_file_id"]].splitlines() if line.startswith(b"{")
    ]
    assert json.loads(lines[0])["url"] == "/v1/chat/completions"
    assert json.loads(lines[0])["custom_id"] == "request-0"


@pytest.mark.req("E-01")
def test_each_word_of_a_batch_is_understood(pair: Pair) -> None:
    running = polled(pair, status="finalizing")
    assert isinstance(running, base.Running)
    assert (running.status, running.progress) == (Status.IN_PROGRESS, 50)
    succeeded = polled(pair, status="completed")
    assert isinstance(succeeded, base.Succeeded)
    assert succeeded.result == {
        "output_file_id": "file-out",
        "request_counts": {"total": 4, "completed": 1, "failed": 1},
    }
    failed = polled(pair, status="failed")
    assert isinstance(failed, base.Failed) and failed.reason == "line 1 is not JSON"
    expired = polled(pair, status="expired")
    assert isinstance(expired, base.Failed) and expired.reason == "not done within 24 hours"
    cancelled = polled(pair, status="cancelled")
    assert isinstance(cancelled, base.Cancelled)
    assert isinstance(cancelled.answer, dict) and cancelled.answer["output_file_id"] == "file-out"
    assert isinstance(polled(pair, status="resting"), base.Unrecognised)


@pytest.mark.req("R-05", "F07")
@pytest.mark.parametrize(
    "kind", ["html", "204", "nan", "huge", "wrong_id", "redirect", "no_status", "list"]
)
def test_a_broken_answer_is_a_contact_error(pair: Pair, kind: str) -> None:
    assert isinstance(polled(pair, malformed=kind), base.TransientPoll)


@pytest.mark.req("E-03", "F06")
def test_an_ambiguous_submit_is_found_again_by_our_reference(pair: Pair) -> None:
    config = platform("openai_batch", pair[0].base_url)
    lost = talk(config, lambda a: a.submit(asked(payload(on_create="drop"))))
    assert isinstance(lost, base.Ambiguous)
    lost_id = next(iter(pair[1].batches))
    other = base.SubmitRequest(task_id="t2", reference="ref-2", payload=payload())
    for _ in range(4):
        talk(config, lambda a: a.submit(other))
    found = talk(config, lambda a: a.lookup("ref-1"))
    assert isinstance(found, base.Accepted) and found.external_id == lost_id
    assert talk(config, lambda a: a.lookup("ref-3")) is None
    down = platform("openai_batch", "http://127.0.0.1:1")
    assert isinstance(talk(down, lambda a: a.lookup("ref-1")), base.Transient)


@pytest.mark.req("E-01")
def test_a_request_that_is_refused_is_rejected_and_a_lost_upload_is_not_ambiguous(
    pair: Pair,
) -> None:
    config = platform("openai_batch", pair[0].base_url)
    wrong = {"endpoint": "/v1/x", "input_file_id": "file-none"}
    assert isinstance(talk(config, lambda a: a.submit(asked(wrong))), base.Rejected)

    async def incomplete(adapter: Adapter) -> list[base.SubmitResult]:
        payloads: list[dict[str, Any]] = [
            {},
            {"endpoint": "/v1/x"},
            {"endpoint": "/v1/x", "requests": []},
        ]
        return [await adapter.submit(asked(bad)) for bad in payloads]

    assert all(isinstance(result, base.Rejected) for result in talk(config, incomplete))
    down = platform("openai_batch", "http://127.0.0.1:1")
    assert isinstance(talk(down, lambda a: a.submit(asked(payload()))), base.Transient)


@pytest.mark.req("E-01")
def test_cancel_is_two_phase(pair: Pair) -> None:
    config = platform("openai_batch", pair[0].base_url)

    def cancel(id_: str) -> base.CancelResult:
        return talk(config, lambda a: a.cancel(base.PollRequest(task_id="t", external_id=id_)))

    assert cancel(submitted(pair).external_id) == base.CancelRequested(raw_status="cancelling")
    assert isinstance(cancel(submitted(pair, status="completed").external_id), base.TooLate)
    assert isinstance(cancel("batch_none"), base.CancelNotFound)


@pytest.mark.req("E-04")
def test_a_signed_webhook_says_poll_now_and_the_vendors_verifier_agrees(pair: Pair) -> None:
    event = {"id": "evt_1", "created_at": 1, "type": "batch.completed", "data": {"id": "batch_1"}}
    body, now_s = json.dumps(event).encode(), int(time.time())
    headers = {
        "webhook-id": "wh_1",
        "webhook-timestamp": str(now_s),
        "webhook-signature": sign_standard(SECRET, "wh_1", now_s, body),
    }
    openai.OpenAI(api_key="tok").webhooks.unwrap(body, headers, secret=SECRET)

    async def work(adapter: Adapter) -> base.WebhookHint:
        adapter.verify_webhook(headers, body, now_s)
        with pytest.raises(WebhookRefused):
            adapter.parse_webhook(headers, b'{"type": "response.completed", "data": {"id": "r"}}')
        return adapter.parse_webhook(headers, body)

    hint = talk(platform("openai_batch", pair[0].base_url, webhook_secret=SECRET), work)
    assert hint == base.WebhookHint(external_id="batch_1", delivery_id="wh_1")
