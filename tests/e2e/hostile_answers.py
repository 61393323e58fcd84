"""Handlers whose results and exceptions are made to break whoever stores or prints them.

TASKCENTER_HANDLERS=tests.e2e.hostile_answers; the payload says what and in which lane.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from jobs.domain.states import Lane
from jobs.handlers import task


class Wanted(msgspec.Struct, frozen=True):
    kind: str
    lane: str = "async"


class Unprintable(Exception):
    """Neither its text nor its representation can be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


class NoText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # on purpose


class ExitingText(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


class Unpicklable(Exception):
    def __init__(self, one: object, two: object) -> None:
        super().__init__("cannot be copied")
        self.held = (one, two, lambda: None)

    def __reduce__(self) -> NoReturn:
        raise TypeError("not to be pickled")


class Bare(BaseException):
    """No Exception at all."""


class Bomb:
    def __repr__(self) -> str:
        raise MemoryError("a bomb")

    __str__ = __repr__

    def __iter__(self) -> NoReturn:
        raise KeyboardInterrupt


def _endless() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def _looped() -> Exception:
    first, second = ValueError("one"), ValueError("two")
    first.__cause__, second.__cause__ = second, first
    return first


def _long_chain() -> Exception:
    error: Exception = ValueError("the first")
    for n in range(3_000):
        outer = ValueError(f"{n}")
        outer.__cause__ = error
        error = outer
    return error


RESULTS: dict[str, Callable[[], object]] = {
    "object": object,
    "set of objects": lambda: {object()},
    "bomb": Bomb,
    "bombs in a list": lambda: [Bomb()],
    "endless": _endless,
    "deep": lambda: _deep(100_000),
    "huge": lambda: "x" * 3_000_000,
    "NUL": lambda: {"a": "b\0c"},
    "NUL in a key": lambda: {"a\0": 1},
    "lone surrogate": lambda: "a\ud800b",
    "not a number": lambda: {"x": math.nan, "y": object()},
    "huge number": lambda: 10**5_000,
    "keys that are no text": lambda: {(1, 2): 3},
    "function": lambda: print,
    "exception": lambda: Unprintable(),
}
ERRORS: dict[str, Callable[[], BaseException]] = {
    "unprintable": Unprintable,
    "no text": NoText,
    "text that exits": ExitingText,
    "unpicklable": lambda: Unpicklable(1, 2),
    "bare": lambda: Bare("bare"),
    "generator exit": GeneratorExit,
    "stop iteration": lambda: StopIteration(3),
    "stop async iteration": StopAsyncIteration,
    "bombs inside": lambda: ValueError(Bomb()),
    "huge text": lambda: ValueError("y" * 5_000_000),
    "NUL in the text": lambda: ValueError("a\0b"),
    "surrogate in the text": lambda: ValueError("a\udc00b"),
    "looped causes": _looped,
    "a long chain": _long_chain,
    "a group": lambda: BaseExceptionGroup("all", [Bare("x"), Unprintable()]),
    "cancelled": asyncio.CancelledError,
    "recursion": RecursionError,
    "memory": MemoryError,
}


@task("hostile:result", lane_from=lambda wanted: Lane[wanted.lane.upper()])
def result(wanted: Wanted) -> object:
    return RESULTS[wanted.kind]()


@task("hostile:error", lane_from=lambda wanted: Lane[wanted.lane.upper()])
def error(wanted: Wanted) -> NoReturn:
    raise ERRORS[wanted.kind]()


@task("hostile:async", lane=Lane.ASYNC)
async def awaited(wanted: Wanted) -> object:
    """The same out of a coroutine."""
    await asyncio.sleep(0)
    if wanted.kind in ERRORS:
        raise ERRORS[wanted.kind]()
    return RESULTS[wanted.kind]()
