"""The worker's own threads: each repeats one step, and a step that raises costs a second, never the thread."""

import threading
import time
from collections.abc import Callable

import structlog

from jobs.worker import db

log = structlog.get_logger("worker")

_STUMBLE_S = 1.0


def _never() -> bool:
    return False


class Threads:
    """Daemons: the process does not wait for them at its end."""

    def __init__(self) -> None:
        self._all: list[threading.Thread] = []
        self._closed = threading.Event()

    def spawn(
        self, name: str, step: Callable[[], object], *, until: Callable[[], bool] = _never
    ) -> None:
        """Repeat `step` on a thread of its own until `until` or `close`."""

        def main() -> None:
            while not self._closed.is_set() and not until():
                try:
                    step()
                except Exception:
                    log.exception("thread stumbled", thread=name)
                    db.reset()
                    time.sleep(_STUMBLE_S)

        thread = threading.Thread(target=main, name=name, daemon=True)
        self._all.append(thread)
        thread.start()

    def join(self, name: str, at_most_s: float) -> None:
        for thread in self._all:
            if thread.name == name:
                thread.join(at_most_s)

    def close(self) -> None:
        self._closed.set()
