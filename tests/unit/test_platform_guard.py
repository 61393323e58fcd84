"""The guard against calling inner addresses (SSRF)."""

import asyncio
from typing import Any

import pytest

from jobs.platforms.guard import Target, TargetRefused, Unresolvable, is_public, resolve_public
from jobs.platforms.http import NoAnswer, exchange, make_client
from taskcenter.demo.stub_http import Reply, StubServer

CORPUS = [
    "http://127.1/",
    "http://0x7f000001/",
    "http://2130706433/",
    "http://0177.0.0.1/",
    "http://１２７.０.０.１/",
    "http://127。0。0。1/",
    "http://100.64.0.1/",
    "http://[64:ff9b::7f00:1]/",
    "http://224.0.0.1/",
    "http://[2002:7f00:1::]/",
    "http://192.0.0.8/",
    "http://169.254.169.254/latest/meta-data/",
    "http://10.1.2.3/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://0.0.0.0/",
    "http://0/",
    "http://255.255.255.255/",
    "http://localhost/",
    "http://[::]/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[fe80::1]/",
    "http://[fc00::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[2001:db8::1]/",
    "http://[2001:0:53aa::1]/",
]
MALFORMED = [
    "ftp://example.com/",
    "file:///etc/passwd",
    "http://user@example.com/",
    "http://example.com@127.0.0.1/",
    "http://example.com\\@127.0.0.1/",
    "http://[::1%25lo]/",
    "http:///x",
    "http://",
    "//example.com/",
    "example.com",
    "http://exa mple.com/",
    "http://example.com\r\nHost: x/",
    "http://%31%32%37.0.0.1/",
    "http://[::1/",
    "http://example.com:99999/",
]


async def _nothing(host: str, port: int) -> list[str]:
    return []


def _answering(*ips: str) -> Any:
    async def resolver(host: str, port: int) -> list[str]:
        return list(ips)

    return resolver


@pytest.mark.req("T-05", "S13")
@pytest.mark.parametrize("url", CORPUS)
def test_an_inner_address_is_refused_in_every_spelling(url: str) -> None:
    with pytest.raises((TargetRefused, Unresolvable)):
        asyncio.run(resolve_public(url))


@pytest.mark.req("T-05")
@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_address_is_refused_before_any_look_up(url: str) -> None:
    with pytest.raises(TargetRefused):
        asyncio.run(resolve_public(url, allow_private=True, resolver=_nothing))


@pytest.mark.req("T-05")
@pytest.mark.parametrize("ips", [("93.184.216.34", "10.0.0.1"), ("2606:4700::1111", "::1")])
def test_one_inner_address_among_public_ones_is_enough_to_refuse(ips: tuple[str, ...]) -> None:
    with pytest.raises(TargetRefused):
        asyncio.run(resolve_public("http://example.com/", resolver=_answering(*ips)))


@pytest.mark.req("T-05")
def test_a_public_name_comes_back_with_the_addresses_that_were_checked() -> None:
    resolver = _answering("93.184.216.34", "2606:4700::1111")
    target = asyncio.run(resolve_public("https://bücher.example/x?y", resolver=resolver))
    assert target == Target(
        scheme="https", host="bücher.example", port=443, ips=("93.184.216.34", "2606:4700::1111")
    )
    assert target.ip == "93.184.216.34"


@pytest.mark.req("T-05")
def test_a_name_without_addresses_is_unresolvable() -> None:
    with pytest.raises(Unresolvable):
        asyncio.run(resolve_public("http://example.com/", resolver=_nothing))


@pytest.mark.parametrize("ip", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_public_addresses_pass_also_when_wrapped(ip: str) -> None:
    assert is_public(ip)


@pytest.mark.req("T-05", "S13")
def test_the_address_checked_is_the_address_called(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) > 1 else ["93.184.216.34"]

    monkeypatch.setattr("jobs.platforms.guard.system_resolver", rebinding)

    async def twice() -> NoAnswer:
        await resolve_public("http://rebind.example/")
        async with make_client() as client:
            answer = await exchange(client, "GET", "http://rebind.example:1/")
        assert isinstance(answer, NoAnswer)
        return answer

    answer = asyncio.run(twice())
    assert "TargetRefused" in answer.reason
    assert not answer.sent


@pytest.mark.req("T-05")
def test_loopback_is_called_only_when_the_request_allows_it() -> None:
    async def both(url: str) -> tuple[Any, Any]:
        async with make_client() as client:
            opened = await exchange(client, "GET", url, allow_private=True)
            return opened, await exchange(client, "GET", url)

    with StubServer(lambda request: Reply(body={})) as server:
        opened, refused = asyncio.run(both(server.base_url))
        assert opened.ok
        assert isinstance(refused, NoAnswer) and not refused.sent
        assert len(server.log()) == 1
