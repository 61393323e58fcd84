"""Middleware around handlers, by setting: TASKCENTER["MIDDLEWARE"] names functions `call_next -> call`.

`call(payload, context)` is `async def` around asynchronous handlers (`inspect.iscoroutinefunction(call_next)`
tells) and a plain function around the others. The first named is the outermost. Logging, timing and the
recovery from errors need no middleware: the lanes do them.
"""

import inspect
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from jobs.handlers.registry import Handler

Call = Callable[..., Any]

_chains: dict[str, tuple[Handler, Call | None]] = {}


def chain(handler: Handler) -> Call | None:
    """The handler inside its middleware as `call(payload, context)`; None when there is none configured."""
    held = _chains.get(handler.name)
    if held is None or held[0] is not handler:
        held = _chains[handler.name] = (handler, _build(handler))
    return held[1]


def forget() -> None:
    """Read the setting anew (tests)."""
    _chains.clear()


def _build(handler: Handler) -> Call | None:
    paths = settings.TASKCENTER["MIDDLEWARE"]
    if not paths:
        return None
    call = _innermost(handler)
    for path in reversed(paths):
        call = import_string(path)(call)
    return call


def _innermost(handler: Handler) -> Call:
    function, with_context = handler.function, handler.takes_context
    if inspect.iscoroutinefunction(function):

        async def call_async(payload: Any, context: Any) -> Any:
            return await (function(payload, context) if with_context else function(payload))

        return call_async

    def call(payload: Any, context: Any) -> Any:
        return function(payload, context) if with_context else function(payload)

    return call
