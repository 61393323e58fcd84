"""The guard against calling inner addresses (SSRF)."""

import asyncio
from typing import Any

import pytest

from jobs.platforms.connections import Client
from jobs.platforms.guard import TargetRefused, is_public, split
from jobs.platforms.http import NoAnswer, exchange
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


def _resolving(monkeypatch: pytest.MonkeyPatch, *ips: str) -> list[str]:
    """The system's resolver knows one host; returned are those it was asked for."""
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return list(ips)

    monkeypatch.setattr("jobs.platforms.guard.system_resolver", resolver)
    return asked


def _call(url: str) -> NoAnswer:
    async def main() -> Any:
        async with Client() as client:
            return await exchange(client, "GET", url)

    answer = asyncio.run(main())
    assert isinstance(answer, NoAnswer) and not answer.sent
    return answer


@pytest.mark.req("T-05", "S13")
@pytest.mark.parametrize("url", CORPUS)
def test_an_inner_address_is_refused_in_every_spelling(url: str) -> None:
    answer = _call(url)
    assert answer.kept or "Unresolvable" in answer.reason


@pytest.mark.req("T-05")
@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_address_is_refused_before_any_look_up(url: str) -> None:
    with pytest.raises(TargetRefused):
        split(url)


@pytest.mark.req("T-05")
@pytest.mark.parametrize("ips", [("93.184.216.34", "10.0.0.1"), ("2606:4700::1111", "::1")])
def test_one_inner_address_among_public_ones_is_enough_to_refuse(
    monkeypatch: pytest.MonkeyPatch, ips: tuple[str, ...]
) -> None:
    _resolving(monkeypatch, *ips)
    assert _call("http://example.com/").barred


@pytest.mark.req("T-05")
def test_a_host_is_read_as_it_is_sent() -> None:
    assert split("https://BÜCHER.example/x?y") == ("https", "xn--bcher-kva.example", 443)
    assert split("http://[2606:4700::1111]:8080") == ("http", "2606:4700::1111", 8080)


@pytest.mark.req("T-05")
def test_a_name_without_addresses_is_unresolvable(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _resolving(monkeypatch)
    assert "Unresolvable" in _call("http://example.com/").reason
    assert asked == ["example.com"]


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
    called: list[str] = []

    def no_socket(address: Any) -> Any:
        called.append(address[4][0])
        raise OSError("no route from a test")

    monkeypatch.setattr("jobs.platforms.connections._socket", no_socket)
    _call("http://rebind.example:1/")
    assert called == ["93.184.216.34"] and asked == ["rebind.example"]
    assert _call("http://rebind.example:1/").barred


@pytest.mark.req("T-05")
def test_loopback_is_called_only_when_the_request_allows_it() -> None:
    async def both(url: str) -> tuple[Any, Any]:
        async with Client() as client:
            opened = await exchange(client, "GET", url, allow_private=True)
            return opened, await exchange(client, "GET", url)

    with StubServer(lambda request: Reply(body={})) as server:
        opened, refused = asyncio.run(both(server.base_url))
        assert opened.ok
        assert isinstance(refused, NoAnswer) and not refused.sent
        assert len(server.log()) == 1
