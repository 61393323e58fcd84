"""Answers that are kept for a moment, one by one, as they are asked for."""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_TTL_S = 1.0
_MOST = 10_000

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


@dataclass(slots=True)
class Kept(Generic[_K, _V]):
    """Answers by key, each at most a second old, at most so many."""

    ask: Callable[[_K], _V | None]
    held: dict[_K, tuple[float, _V]] = field(default_factory=dict)

    def get(self, key: _K) -> _V | None:
        now_s = time.monotonic()
        found = self.held.get(key)
        if found is not None and now_s - found[0] < _TTL_S:
            return found[1]
        if len(self.held) >= _MOST:
            self.held.clear()
        self.held.pop(key, None)
        value = self.ask(key)
        if value is not None:
            self.held[key] = (now_s, value)
        return value
