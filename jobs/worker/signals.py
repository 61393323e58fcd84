"""Hearing at once what the next heartbeat would find anyway: cancellations, changed settings, RQ's commands."""

import random
import time
from collections.abc import Callable

from jobs.domain.errors import RedisUnavailable
from jobs.store import redis

_TIMEOUT_S = 5.0


class Ears:
    """Listens on Redis channels on a thread of its own; deaf while Redis is away."""

    def __init__(self, channels: Callable[[], list[str]], hear: Callable[[str, str], None]) -> None:
        self._channels = channels
        self._hear = hear
        self._closed = False

    def step(self) -> None:
        """Listen until the channels change or Redis goes away."""
        names = self._channels()
        try:
            for message in redis.listen(names, _TIMEOUT_S):
                if self._closed or self._channels() != names:
                    return
                if message is not None:
                    self._hear(*message)
        except RedisUnavailable:
            time.sleep(random.uniform(0.5, 1.5))

    def close(self) -> None:
        self._closed = True
