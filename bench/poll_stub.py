"""A platform that is only asked: `python -m bench.poll_stub`. Prints its port; no job ever ends.

Jobs of a batch are busy, single ones wait.

`GET /jobs/<id>` and `GET /jobs?ids=a,b,…`; an answer comes after 20 ms; one in 100 requests is answered 500.
"""

import asyncio
import itertools
import json
from urllib.parse import unquote

LATENCY_S = 0.02
_ERROR_EVERY = 100
_ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_count = itertools.count(1)


class Platform(asyncio.Protocol):
    """Requests without bodies, kept alive."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._left = b""

    def data_received(self, data: bytes) -> None:
        self._left += data
        while b"\r\n\r\n" in self._left:
            head, _, self._left = self._left.partition(b"\r\n\r\n")
            target = head.split(b" ", 2)[1].decode()
            asyncio.get_running_loop().call_later(LATENCY_S, self._answer, target)

    def _answer(self, target: str) -> None:
        if self._transport.is_closing():
            return
        if next(_count) % _ERROR_EVERY == 0:
            self._transport.write(_ERROR)
            return
        body = _body(target)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


def _body(target: str) -> bytes:
    path, _, query = target.partition("?ids=")
    if query:
        jobs = [{"id": id_, "status": "busy"} for id_ in unquote(query).split(",")]
        return json.dumps({"jobs": jobs}).encode()
    return json.dumps({"id": path.rpartition("/")[2], "status": "waiting"}).encode()


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Platform, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
