"""Which ticket lists a worker looks at, and in which order."""

import random
import time
from collections.abc import Sequence

from jobs.domain.errors import RedisUnavailable, UnknownQueue
from jobs.domain.states import Lane
from jobs.store import catalog, keys, redis
from jobs.store.catalog import QueueRow

_DEPTHS_S = 1.0


class Served:
    """The queues of this worker (none named: all), tenants' queues with their base; paused ones are left out.

    Order of a fetch: by random^(1/weight), so that over many fetches each full queue comes first as often as its
    weight says; `strict`: by weight alone. Among equal weights the longer list comes first.
    """

    def __init__(self, names: Sequence[str], *, strict: bool) -> None:
        self._names = frozenset(names)
        self._strict = strict
        self._depths: dict[str, int] = {}
        self._depths_at_s = 0.0

    def check(self) -> None:
        """Raises UnknownQueue for a name that is no queue."""
        known = catalog.queues(fresh=True)
        for name in sorted(self._names):
            if name not in known.by_name:
                raise UnknownQueue(
                    f"There is no queue {name!r}", queue=name, known=sorted(known.by_name)
                )

    def rows(self) -> list[QueueRow]:
        """All queues served, paused ones too."""
        known = catalog.queues()
        if not self._names:
            return known.rows
        bases = {row.id for row in known.rows if row.name in self._names}
        return [row for row in known.rows if row.id in bases or row.base_id in bases]

    def order(self) -> list[QueueRow]:
        """The queues to fetch from now, first one first."""
        rows = [row for row in self.rows() if not row.paused]
        if self._strict:
            return self._longer_first(sorted(rows, key=lambda row: -row.weight))
        drawn = sorted(rows, key=lambda row: -(random.random() ** (1 / max(row.weight, 1))))
        return self._longer_first(drawn)

    def _longer_first(self, rows: list[QueueRow]) -> list[QueueRow]:
        """Queues of one weight swap the places they drew, the longest list taking the first."""
        by_weight: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            by_weight.setdefault(row.weight, []).append(place)
        if len(by_weight) == len(rows):
            return rows
        depths, ordered = self._known_depths(rows), list(rows)
        for places in by_weight.values():
            longest = sorted((rows[p] for p in places), key=lambda row: -depths.get(row.name, 0))
            for place, row in zip(places, longest, strict=True):
                ordered[place] = row
        return ordered

    def _known_depths(self, rows: list[QueueRow]) -> dict[str, int]:
        now_s = time.monotonic()
        if now_s - self._depths_at_s > _DEPTHS_S:
            self._depths_at_s = now_s
            try:
                found = redis.depths([keys.tickets(row.name) for row in rows])
                self._depths = {row.name: depth for row, depth in zip(rows, found, strict=True)}
            except RedisUnavailable:
                self._depths = {}
        return self._depths


def lists(rows: Sequence[QueueRow], lane: Lane) -> list[str]:
    return [keys.tickets(row.name, lane) for row in rows]
