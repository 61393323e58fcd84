"""What handlers that call strangers share: one HTTP client per event loop, and store calls off the loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection

from jobs.platforms.connections import Client

_P = ParamSpec("_P")
_T = TypeVar("_T")

_clients: dict[asyncio.AbstractEventLoop, tuple[Client, AsyncIterator[None]]] = {}


async def client() -> Client:
    """The pooled client of the running event loop; closed with it."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        made = Client()
        _clients[loop] = made, _until_closed(loop, made)
        await anext(_clients[loop][1])
    return _clients[loop][0]


async def _until_closed(loop: asyncio.AbstractEventLoop, made: Client) -> AsyncIterator[None]:
    """A loop that ends shuts down its asynchronous generators, and this one the connections."""
    try:
        yield
    finally:
        del _clients[loop]
        await made.aclose()


async def db(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a store function on a thread; a broken connection is dropped, so that the next call gets a new one."""

    def call() -> _T:
        try:
            return function(*args, **kwargs)
        except (OperationalError, InterfaceError):
            connection.close()
            raise

    return await asyncio.to_thread(call)
