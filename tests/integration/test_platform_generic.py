"""The declarative adapter against a platform of nobody in particular."""

from collections.abc import Iterator
from typing import Any

import pytest

from jobs.domain.errors import Misconfigured
from jobs.domain.states import Status
from jobs.platforms import base
from jobs.platforms.base import Adapter, PlatformConfig, PollResult
from taskcenter.demo.stub_http import StubServer
from tests.stubs import generic_stub
from tests.stubs.generic_stub import OPTIONS, GenericStub
from tests.stubs.harness import asked, platform, poll_one, talk

Pair = tuple[StubServer, GenericStub]


@pytest.fixture
def pair() -> Iterator[Pair]:
    server, stub = generic_stub.serve()
    with server:
        yield server, stub


def config(pair: Pair, **changed: Any) -> PlatformConfig:
    options = {name: value for name, value in (OPTIONS | changed).items() if value is not None}
    return platform("generic", pair[0].base_url, options=options)


def polled(pair: Pair, state: str) -> PollResult:
    async def work(adapter: Adapter) -> PollResult:
        accepted = await adapter.submit(asked({"state": state}))
        assert isinstance(accepted, base.Accepted)
        return await poll_one(adapter, accepted.external_id)

    return talk(config(pair), work)


@pytest.mark.req("E-02")
def test_the_whole_life_of_a_job_is_described_by_configuration(pair: Pair) -> None:
    async def work(adapter: Adapter) -> base.CancelResult:
        accepted = await adapter.submit(asked({"a": 1}, webhook_url="https://we/hook"))
        assert isinstance(accepted, base.Accepted)
        assert (accepted.external_id, accepted.status) == ("1", Status.QUEUED)
        running = await poll_one(adapter, "1")
        assert isinstance(running, base.Running) and running.progress == 40
        return await adapter.cancel(base.PollRequest(task_id="t", external_id="1"))

    assert isinstance(talk(config(pair), work), base.CancelDone)
    assert (pair[1].jobs["1"]["ref"], pair[1].jobs["1"]["key"]) == ("ref-1", "ref-1")
    assert '"notify"' in pair[0].log("POST")[0]["body"]


@pytest.mark.req("E-01")
def test_their_words_are_mapped_and_ours_are_understood(pair: Pair) -> None:
    succeeded = polled(pair, "ok")
    assert isinstance(succeeded, base.Succeeded) and succeeded.result == "f.bin"
    failed = polled(pair, "bad")
    assert isinstance(failed, base.Failed) and failed.reason == "too hard"
    assert isinstance(polled(pair, "off"), base.Cancelled)
    unknown = polled(pair, "UNKNOWN")
    assert isinstance(unknown, base.Running) and unknown.status is Status.UNKNOWN
    empty = polled(pair, "")
    assert isinstance(empty, base.Running) and empty.status is Status.EMPTY
    assert isinstance(polled(pair, "pondering"), base.Unrecognised)


@pytest.mark.req("E-01")
def test_many_are_asked_about_in_one_request(pair: Pair) -> None:
    async def work(adapter: Adapter) -> dict[str, PollResult]:
        for state in ("busy", "ok"):
            await adapter.submit(asked({"state": state}))
        return await adapter.poll(
            [base.PollRequest(task_id=f"t{n}", external_id=str(n)) for n in (1, 2, 9)]
        )

    found = talk(config(pair), work)
    assert isinstance(found["t1"], base.Running) and isinstance(found["t2"], base.Succeeded)
    assert isinstance(found["t9"], base.NotFound)
    assert [e["query"] for e in pair[0].log("GET")] == [{"ids": "1,2,9"}]


@pytest.mark.req("R-05")
def test_a_batch_answer_that_never_comes_is_a_contact_error_of_each(pair: Pair) -> None:
    requests = [base.PollRequest(task_id=f"t{n}", external_id=str(n)) for n in (1, 2)]
    down = platform("generic", "http://127.0.0.1:1", options=OPTIONS)
    found = talk(down, lambda a: a.poll(requests))
    assert all(isinstance(result, base.TransientPoll) for result in found.values())
    assert sorted(found) == ["t1", "t2"]


@pytest.mark.req("R-05", "F07")
@pytest.mark.parametrize(
    "kind", ["html", "204", "nan", "huge", "redirect", "truncated", "list", "500"]
)
def test_a_broken_answer_is_a_contact_error(pair: Pair, kind: str) -> None:
    assert isinstance(polled(pair, kind), base.TransientPoll)


@pytest.mark.req("E-03")
def test_an_ambiguous_submit_is_looked_up_where_a_look_up_is_configured(pair: Pair) -> None:
    async def work(adapter: Adapter) -> base.Accepted | base.Transient | None:
        assert adapter.supports_lookup
        assert isinstance(await adapter.submit(asked({"drop": True})), base.Ambiguous)
        assert await adapter.lookup("ref-2") is None
        return await adapter.lookup("ref-1")

    found = talk(config(pair), work)
    assert isinstance(found, base.Accepted) and found.external_id == "1"

    async def without(adapter: Adapter) -> bool:
        return adapter.supports_lookup

    assert talk(config(pair, lookup=None), without) is False


@pytest.mark.req("E-01")
def test_a_platform_without_cancel_says_so(pair: Pair) -> None:
    request = base.PollRequest(task_id="t", external_id="1")
    assert isinstance(
        talk(config(pair, cancel=None), lambda a: a.cancel(request)), base.CancelUnsupported
    )


@pytest.mark.req("S24", "T-05")
def test_an_id_cannot_lead_elsewhere(pair: Pair) -> None:
    async def work(adapter: Adapter) -> None:
        for hostile in ("../admin", "x?y=z", "x#y", "a/b"):
            await poll_one(adapter, hostile)

    talk(config(pair), work)
    assert all(entry["path"].startswith("/jobs/") for entry in pair[0].log("GET"))
    assert all(entry["query"] == {} for entry in pair[0].log("GET"))


@pytest.mark.req("E-02")
@pytest.mark.parametrize(
    "changed",
    [
        {"submit": None},
        {"poll": {"uri": "/x"}},
        {"statuses": {"a": "DONE"}},
        {"colour": "red"},
        {"poll": 1},
    ],
)
def test_wrong_options_are_refused_with_a_reason(pair: Pair, changed: dict[str, Any]) -> None:
    async def nothing(adapter: Adapter) -> None:
        return None

    with pytest.raises(Misconfigured, match="options"):
        talk(config(pair, **changed), nothing)


@pytest.mark.req("E-02")
def test_an_unknown_protocol_is_refused_with_those_that_are_known() -> None:
    async def nothing(adapter: Adapter) -> None:
        return None

    with pytest.raises(Misconfigured, match="kling"):
        talk(platform("carrier-pigeon", "http://127.0.0.1:1"), nothing)
