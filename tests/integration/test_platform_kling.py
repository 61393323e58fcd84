"""Kling's videos against a stub that checks the token as they do."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from jobs.domain.states import Status
from jobs.platforms import base
from jobs.platforms.base import Adapter, PollResult
from jobs.platforms.webhooks import WebhookRefused
from taskcenter.demo.stub_http import StubServer
from tests.stubs import kling_stub
from tests.stubs.harness import asked, platform, poll_one, talk
from tests.stubs.kling_stub import KlingStub

Pair = tuple[StubServer, KlingStub]


@pytest.fixture
def pair() -> Iterator[Pair]:
    server, stub = kling_stub.serve()
    with server:
        yield server, stub


def submit(pair: Pair, **body: Any) -> base.SubmitResult:
    return talk(platform("kling", pair[0].base_url, "ak:sk"), lambda a: a.submit(asked(body)))


def polled(pair: Pair, **body: Any) -> PollResult:
    accepted = submit(pair, **body)
    assert isinstance(accepted, base.Accepted), accepted
    config = platform("kling", pair[0].base_url, "ak:sk")
    return talk(config, lambda a: poll_one(a, accepted.external_id, accepted.urls))


@pytest.mark.req("E-01", "E-02")
@pytest.mark.parametrize(
    ("more", "kind"), [({}, "text2video"), ({"image": "https://x/1.png"}, "image2video")]
)
def test_a_video_is_submitted_under_our_reference(
    pair: Pair, more: dict[str, str], kind: str
) -> None:
    accepted = submit(pair, prompt="", **more)
    assert isinstance(accepted, base.Accepted)
    assert (accepted.status, accepted.raw_status) == (Status.SUBMITTED, "submitted")
    assert accepted.urls["get"] == f"{pair[0].base_url}/v1/videos/{kind}/{accepted.external_id}"
    assert pair[1].tasks[accepted.external_id]["task_info"]["external_task_id"] == "ref-1"


@pytest.mark.req("E-01")
def test_the_status_decides_and_not_the_message_that_says_succeed(pair: Pair) -> None:
    succeeded = polled(pair, prompt="succeed")
    assert isinstance(succeeded, base.Succeeded)
    assert succeeded.result == {
        "videos": [{"id": "v1", "url": "https://kling.example/v1.mp4", "duration": "5"}]
    }
    pair[1].tasks.clear()
    failed = polled(pair, prompt="failed")
    assert isinstance(failed, base.Failed) and failed.reason == "the prompt violates the rules"
    pair[1].tasks.clear()
    running = polled(pair, prompt="processing")
    assert isinstance(running, base.Running) and running.status is Status.IN_PROGRESS
    pair[1].tasks.clear()
    assert isinstance(polled(pair, prompt="dreaming"), base.Unrecognised)


@pytest.mark.req("E-01")
@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("busy", base.Transient),
        ("poor", base.Transient),
        ("bad", base.Rejected),
        ("broken", base.Ambiguous),
        ("lost", base.Ambiguous),
    ],
)
def test_their_own_codes_decide_what_became_of_a_submit(
    pair: Pair, prompt: str, kind: type[base.SubmitResult]
) -> None:
    assert isinstance(submit(pair, prompt=prompt), kind)


@pytest.mark.req("E-03", "F06")
@pytest.mark.parametrize("more", [{}, {"image": "https://x/1.png"}])
def test_an_ambiguous_submit_is_found_again_by_our_reference(
    pair: Pair, more: dict[str, str]
) -> None:
    assert isinstance(submit(pair, prompt="lost", **more), base.Ambiguous)
    config = platform("kling", pair[0].base_url, "ak:sk")
    found = talk(config, lambda a: a.lookup("ref-1"))
    assert isinstance(found, base.Accepted) and found.external_id in pair[1].tasks
    assert isinstance(
        talk(config, lambda a: poll_one(a, found.external_id, found.urls)), base.Running
    )
    assert talk(config, lambda a: a.lookup("ref-2")) is None


@pytest.mark.req("E-01")
def test_a_wrong_credential_is_transient_and_a_missing_task_not_found(pair: Pair) -> None:
    wrong = platform("kling", pair[0].base_url, "ak:other")
    assert isinstance(talk(wrong, lambda a: a.submit(asked({"prompt": ""}))), base.Transient)
    assert isinstance(talk(wrong, lambda a: poll_one(a, "none")), base.TransientPoll)
    config = platform("kling", pair[0].base_url, "ak:sk")
    assert isinstance(talk(config, lambda a: poll_one(a, "none")), base.NotFound)
    cancelled = talk(config, lambda a: a.cancel(base.PollRequest(task_id="t", external_id="x")))
    assert isinstance(cancelled, base.CancelUnsupported)


@pytest.mark.req("R-05", "F07")
@pytest.mark.parametrize(
    "prompt", ["html", "204", "nan", "huge", "redirect", "truncated", "list", "500", "drop"]
)
def test_a_broken_answer_is_a_contact_error(pair: Pair, prompt: str) -> None:
    assert isinstance(polled(pair, prompt=prompt), base.TransientPoll)


@pytest.mark.req("E-04")
def test_an_unsigned_callback_is_only_a_hint_to_poll(pair: Pair) -> None:
    body = json.dumps({"task_id": "k1", "task_status": "succeed"}).encode()

    async def work(adapter: Adapter) -> base.WebhookHint:
        adapter.verify_webhook({}, body, 0)
        with pytest.raises(WebhookRefused):
            adapter.parse_webhook({}, b'{"task_id": null}')
        return adapter.parse_webhook({}, body)

    assert talk(platform("kling", pair[0].base_url), work) == base.WebhookHint(external_id="k1")
