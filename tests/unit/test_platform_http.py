"""HTTP with strangers: strict JSON, bounded bodies, times to wait."""

import asyncio
import contextlib
import gzip
import socket
import threading
from typing import Any

import pytest

from jobs.platforms.connections import Client
from jobs.platforms.http import (
    Answer,
    NoAnswer,
    exchange,
    read_retry_after,
    strict_json,
)
from taskcenter.demo.stub_http import Reply, StubServer


def fetch(reply: Reply, **more: Any) -> Answer | NoAnswer:
    async def main(url: str) -> Answer | NoAnswer:
        async with Client() as client:
            return await exchange(client, "GET", url, allow_private=True, **more)

    with StubServer(lambda request: reply) as server:
        return asyncio.run(main(server.base_url))


@pytest.mark.req("S24", "R-05")
@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"NaN", b"[Infinity]", b"-Infinity", b"1e999", b"\xff", b"[" * 200 + b"]" * 200]
    + [b"[" * 100_000, b"9" * 10_000],
)
def test_what_is_not_strict_json_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError):
        strict_json(raw)


@pytest.mark.req("S24")
def test_text_that_a_database_cannot_keep_is_replaced() -> None:
    assert strict_json(b'{"a\\u0000": ["\\ud800", "\\u4e2d"]}') == {"a\ufffd": ["?", "中"]}


@pytest.mark.req("S24")
@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (Reply(body=b"x" * 3000), "too large"),
        (Reply(status=302, headers={"Location": "http://127.0.0.1:1/"}), "redirect"),
        (Reply(status=204), "empty"),
        (Reply(body=b"<html>", content_type="text/html"), "not JSON"),
        (Reply(body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}), "compressed"),
    ],
)
def test_an_answer_that_cannot_be_read_says_why(reply: Reply, problem: str) -> None:
    answer = fetch(reply, max_bytes=2000)
    assert isinstance(answer, Answer)
    assert answer.body is None
    assert problem in (answer.problem or "")


@pytest.mark.req("E-03")
def test_an_answer_that_never_comes_was_sent_and_a_refused_connection_was_not() -> None:
    late = fetch(Reply(delay_s=5, drop=True), total_s=0.2)
    assert isinstance(late, NoAnswer) and late.sent

    async def main() -> Answer | NoAnswer:
        async with Client() as client:
            return await exchange(client, "GET", "http://127.0.0.1:1/", allow_private=True)

    refused = asyncio.run(main())
    assert isinstance(refused, NoAnswer) and not refused.sent


@pytest.mark.req("S24")
def test_a_connection_that_takes_too_long_says_so_without_the_secret_in_its_address() -> None:
    async def main(port: int) -> Answer | NoAnswer:
        url = f"http://127.0.0.1:{port}/?key=sesame"
        async with Client() as client:
            return await exchange(client, "POST", url, allow_private=True, json={})

    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        answer = asyncio.run(main(full.getsockname()[1]))
    assert isinstance(answer, NoAnswer) and not answer.sent
    assert "sesame" not in answer.reason


@pytest.mark.req("S24")
@pytest.mark.parametrize("value", ["a\nb", "中"])
def test_a_header_that_cannot_be_sent_is_no_answer_and_not_an_exception(value: str) -> None:
    answer = fetch(Reply(body={}), headers={"Authorization": value})
    assert isinstance(answer, NoAnswer) and not answer.sent


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "999999999999"}, 3600.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:28:30 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            30.0,
        ),
    ],
)
def test_retry_after_is_seconds_or_a_date_by_the_senders_clock(
    given: dict[str, str], seconds: float | None
) -> None:
    assert read_retry_after(given) == seconds


@pytest.mark.req("E-03")
def test_a_submit_is_not_sent_on_a_connection_that_the_platform_has_closed() -> None:
    """An idle connection that ends as a request leaves would make its answer ambiguous."""
    closed = threading.Event()

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            talk, _ = listener.accept()
            with talk:
                talk.recv(65_536)
                talk.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            closed.set()

    async def main(url: str) -> Answer | NoAnswer:
        async with Client() as client:
            await exchange(client, "GET", url, allow_private=True)
            # The loop stands still until the platform has hung up, so that it cannot have noticed.
            assert closed.wait(10)
            return await exchange(client, "POST", url, allow_private=True, json={"a": 1})

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        answer = asyncio.run(main(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        thread.join(10)
    assert isinstance(answer, Answer) and answer.ok


@pytest.mark.req("E-03")
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
def test_a_request_whose_connection_is_lost_is_never_sent_once_more(method: str) -> None:
    """Any method may be a platform's submit, and whether it was worked off is not known."""
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            if len(asked) == 1:  # the next one comes on a connection that is kept
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                asked.append(await reader.readuntil(b"\r\n\r\n"))

    async def main() -> list[Answer | NoAnswer]:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server, Client() as client:
            return [await exchange(client, method, url, allow_private=True) for _ in range(3)]

    good, kept, fresh = asyncio.run(main())
    assert isinstance(good, Answer)
    assert isinstance(kept, NoAnswer) and kept.sent
    assert isinstance(fresh, NoAnswer) and fresh.sent
    assert len(asked) == 3


@pytest.mark.req("S24")
def test_an_address_is_sent_as_it_was_given() -> None:
    """A signed URL that is written anew is another one."""
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, Client() as client:
            await exchange(client, "GET", f"{url}/a%2Fb%7Ec/../d?x=%20+%41;é", allow_private=True)
            await exchange(client, "GET", f"{url}/a%2Fb%7Ec/../d?x=%20+%41;", allow_private=True)

    asyncio.run(main())
    assert asked[1].startswith(b"GET /a%2Fb%7Ec/../d?x=%20+%41; HTTP/1.1\r\n")
    assert asked[0].isascii()


@pytest.mark.req("E-03", "S24")
def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one() -> None:
    """A submit that reads another's answer would have another's job."""

    async def main() -> tuple[Answer | NoAnswer, list[int]]:
        said, connections = asyncio.Event(), list[int]()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(len(connections))
            with contextlib.suppress(asyncio.IncompleteReadError), contextlib.closing(writer):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"n":1}')
                if len(connections) == 1:
                    await answered.wait()
                    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"n":666}')
                    await writer.drain()
                    said.set()
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"n":2}')

        answered = asyncio.Event()
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server, Client() as client:
            await exchange(client, "GET", url, allow_private=True)
            answered.set()
            await said.wait()
            return await exchange(client, "POST", url, allow_private=True, json={}), connections

    answer, connections = asyncio.run(main())
    assert isinstance(answer, Answer) and answer.body == {"n": 1}
    assert connections == [0, 1]


@pytest.mark.req("S24", "T-04")
@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 tok-SECRET", b"tok-SECRET\r\n\r\n", b"HTTP/1.1 200 OK\r\ntok-SECRET\r\n\r\n"],
)
def test_a_broken_answer_that_repeats_the_credential_is_told_without_it(head: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)

    async def main() -> Answer | NoAnswer:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with server, Client() as client:
            return await exchange(client, "POST", url, allow_private=True)

    answer = asyncio.run(main())
    assert isinstance(answer, NoAnswer) and answer.sent
    assert "SECRET" not in answer.reason
