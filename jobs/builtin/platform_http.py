"""What handlers that call strangers share: one HTTP client per event loop, and store calls off the loop."""

import asyncio
import weakref
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection

from jobs.platforms.connections import Client

_P = ParamSpec("_P")
_T = TypeVar("_T")

_clients: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Client]" = (
    weakref.WeakKeyDictionary()
)


def client() -> Client:
    """The pooled client of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _clients.get(loop)
    if found is None:
        found = _clients[loop] = Client()
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
