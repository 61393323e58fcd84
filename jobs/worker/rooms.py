"""Queues' own concurrency: at most so many tasks of a queue at once in one worker process."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jobs.store import catalog

if TYPE_CHECKING:
    from jobs.worker.engine import Engine


def rooms(engine: "Engine", fetched: Mapping[str, int]) -> dict[str, int]:
    """Queue → how many more of it may run here, for queues with a limit; what is not settled yet counts as running.

    `fetched`: on their way, by queue.
    """
    limited = [row for row in catalog.queues().limited if engine.served.serves(row)]
    if not limited:
        return {}
    running = Counter(rec.queue for rec in list(engine.active.values()))
    return {
        row.name: max(0, (row.concurrency or 0) - running[row.name] - fetched.get(row.name, 0))
        for row in limited
    }
