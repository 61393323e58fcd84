"""Connections to strangers: guarded addresses, pooled, and none taken by one platform from another."""

import asyncio
import select
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any, cast

import httpcore
import httpx

from jobs.platforms.guard import resolve_host

# In all more than there are poll slots: the platforms' rooms are the limit, so none takes another's connections.
_LIMITS = httpx.Limits(max_connections=50, max_keepalive_connections=20, keepalive_expiry=5.0)
_POOLS, _BUSY = 20, 4


class _Stream(httpcore.AsyncNetworkStream):
    """Finds its socket once: before each request the pool asks every idle connection whether it was closed."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._socket = inner.get_extra_info("socket")
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return self._socket.fileno() < 0 or bool(self._poll.poll(0))
        return self._inner.get_extra_info(info)


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the very address that was checked, so that a name cannot change in between."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                ips = await resolve_host(host, port, allow_private=self._allow_private)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"resolving {host} took too long") from error
        failure: Exception | None = None
        for ip in ips[:4]:
            try:
                return _Stream(
                    await self._inner.connect_tcp(ip, port, timeout, local_address, socket_options)
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"no address for {host}")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Pool(httpx.AsyncHTTPTransport):
    def __init__(self, ssl_context: ssl.SSLContext, *, allow_private: bool) -> None:
        super().__init__(verify=ssl_context, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=_LIMITS.max_connections,
            max_keepalive_connections=_LIMITS.max_keepalive_connections,
            keepalive_expiry=_LIMITS.keepalive_expiry,
            network_backend=_GuardedBackend(allow_private=allow_private),
        )


class _Shards:
    """One kind of connections in several small pools: what a pool does for a request grows by their number squared.

    The first that is not busy is taken, so that sparse requests find a connection that is kept alive.
    """

    def __init__(self, ssl_context: ssl.SSLContext, *, allow_private: bool) -> None:
        self._pools = [_Pool(ssl_context, allow_private=allow_private) for _ in range(_POOLS)]
        self._busy = [0] * _POOLS

    async def handle(self, request: httpx.Request) -> httpx.Response:
        at = next((n for n, busy in enumerate(self._busy) if busy < _BUSY), None)
        at = self._busy.index(min(self._busy)) if at is None else at
        self._busy[at] += 1
        try:
            response = await self._pools[at].handle_async_request(request)
        except BaseException:
            self._busy[at] -= 1
            raise
        response.stream = _Counted(cast(httpx.AsyncByteStream, response.stream), self._busy, at)
        return response

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()


class _Counted(httpx.AsyncByteStream):
    """An answer's body; its pool has one request less when it is closed."""

    def __init__(self, inner: httpx.AsyncByteStream, busy: list[int], at: int) -> None:
        self._inner = inner
        self._busy = busy
        self._at = at
        self._open = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._inner.__aiter__()

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            self._busy[self._at] -= 1
        await self._inner.aclose()


class GuardedTransport(httpx.AsyncBaseTransport):
    """Public addresses only, unless the request's extension `allow_private` says otherwise."""

    def __init__(self) -> None:
        ssl_context = httpx.create_ssl_context(trust_env=False)
        self._public = _Shards(ssl_context, allow_private=False)
        self._private = _Shards(ssl_context, allow_private=True)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        private = request.extensions.get("allow_private") is True
        return await (self._private if private else self._public).handle(request)

    async def aclose(self) -> None:
        await self._public.aclose()
        await self._private.aclose()
