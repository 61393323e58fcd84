"""What platform handlers share: one HTTP client per event loop, and store calls off the loop."""

import asyncio
import weakref
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import httpx
from django.db import InterfaceError, OperationalError, connection

from jobs.platforms.http import make_client

_P = ParamSpec("_P")
_T = TypeVar("_T")

_clients: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient]" = (
    weakref.WeakKeyDictionary()
)


def client() -> httpx.AsyncClient:
    """The pooled client of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _clients.get(loop)
    if found is None:
        found = _clients[loop] = make_client()
    return found


async def db(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a store function on a thread; a broken connection is dropped, so that the next call gets a new one."""

    def call() -> _T:
        try:
            return function(*args, **kwargs)
        except (OperationalError, InterfaceError):
            connection.close()
            raise

    return await asyncio.to_thread(call)
