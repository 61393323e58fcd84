"""Connections to strangers: guarded addresses, pooled, and those that may be private apart from the others."""

import asyncio
import socket
import ssl
from types import TracebackType
from typing import Self

import aiohttp
import certifi
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection

from jobs.platforms.guard import TargetRefused, is_public, resolve_host

_RESOLVE_S = 5.0
# More than there are poll slots and slots for tasks: rooms and concurrency are the limits, so none waits here.
_MOST = 2_000
_IDLE_S = 4.0  # less than the 5 s after which many servers close an idle connection
_ADDRESSES = 4
_HEADERS = {
    "User-Agent": "TaskCenter/1",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
}


class ConnectionLost(aiohttp.ClientError):
    """The connection ended before the answer; the request may have been worked off."""


class Client:
    """All connections of one event loop; close it with `aclose()`."""

    def __init__(self) -> None:
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    def session(self, *, allow_private: bool) -> aiohttp.ClientSession:
        """No redirects are followed by those who use it; no cookies, no proxies of the environment."""
        found = self._sessions.get(allow_private)
        if found is None:
            found = self._sessions[allow_private] = _open(allow_private)
        return found

    async def aclose(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _open(allow_private: bool) -> aiohttp.ClientSession:
    connector = _Connector(
        limit=_MOST,
        keepalive_timeout=_IDLE_S,
        use_dns_cache=False,
        resolver=_GuardedResolver(allow_private=allow_private),
        socket_factory=_socket if allow_private else _public_socket,
        happy_eyeballs_delay=None,
        ssl=ssl.create_default_context(cafile=certifi.where()),
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers=_HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        middlewares=(_never_twice,),
    )


class _Connector(aiohttp.TCPConnector):
    """Passes by kept connections on which something was said unasked: it would be taken for the next answer."""

    async def _get(
        self, key: ConnectionKey, traces: list[aiohttp.tracing.Trace]
    ) -> Connection | None:
        # Private of aiohttp, which itself looks at this only when an answer has ended; a test pins it.
        while (found := await super()._get(key, traces)) is not None:
            if found.protocol is None or not found.protocol.should_close:
                return found
            found.close()
        return None


async def _never_twice(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """aiohttp sends what HTTP calls idempotent once more by itself; but any method may be a platform's submit."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if isinstance(error, aiohttp.ClientConnectorError):
            raise
        # No more of it: its text may be what came of an answer, which may repeat the credential.
        raise ConnectionLost(type(error).__name__) from error


class _GuardedResolver(AbstractResolver):
    """Answers with the very addresses that were checked, so that a name cannot change in between."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        async with asyncio.timeout(_RESOLVE_S):
            ips = await resolve_host(host, port, allow_private=self._allow_private)
        return [
            ResolveResult(
                hostname=host,
                host=ip,
                port=port,
                family=socket.AF_INET6 if ":" in ip else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for ip in ips[:_ADDRESSES]
        ]

    async def close(self) -> None:
        """Nothing is kept."""


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, proto, _, _ = address
    return socket.socket(family, kind, proto)


def _public_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Also asked for addresses that stand in the URL itself, which nobody resolves. Raises TargetRefused."""
    host = str(address[4][0])
    if not is_public(host):
        raise TargetRefused(f"The host {host!r} is not a public address", host=host)
    return _socket(address)
