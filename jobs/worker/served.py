"""Which ticket lists a worker looks at, and in which order."""

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.domain.errors import RedisUnavailable, UnknownQueue
from jobs.domain.states import Lane
from jobs.store import catalog, keys, redis
from jobs.store.catalog import QueueRow

_DEPTHS_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Family:
    """A base queue and the tenants' queues beside it."""

    weight: int
    rows: list[QueueRow]

    def depth(self, depths: Mapping[str, int]) -> int:
        return sum(depths.get(row.name, 0) for row in self.rows)


class Served:
    """The queues of this worker (none named: all), tenants' queues with their base; paused ones are left out.

    Order of a fetch: by random^(1/weight), so that over many fetches each full queue comes first as often as its
    weight says; `strict`: by weight alone. Among equal weights the longer list comes first. Tenants' queues share
    the weight of their base and take turns.
    """

    def __init__(self, names: Sequence[str], *, strict: bool) -> None:
        self._names = frozenset(names)
        self._strict = strict
        self._depths: dict[str, int] = {}
        self._depths_at_s = 0.0
        self._gave: dict[str, int] = {}
        self._fetches = 0

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
        families = self._families()
        if self._strict:
            drawn = sorted(families, key=lambda family: -family.weight)
        else:
            drawn = sorted(families, key=lambda f: -(random.random() ** (1 / max(f.weight, 1))))
        return [row for family in self._longer_first(drawn) for row in self._in_turn(family)]

    def gave(self, names: Iterable[str]) -> None:
        """These queues gave tickets: their family's others come first next time."""
        for name in names:
            self._fetches += 1
            self._gave[name] = self._fetches

    def _families(self) -> list["_Family"]:
        """Queues that share a base's weight: itself and the tenants' own, without paused ones."""
        served, found = self.rows(), dict[int, list[QueueRow]]()
        weights = {row.id: row.weight for row in served}
        for row in served:
            if not row.paused:
                found.setdefault(row.base_id or row.id, []).append(row)
        return [
            _Family(weight=weights.get(base, rows[0].weight), rows=rows)
            for base, rows in found.items()
        ]

    def _in_turn(self, family: "_Family") -> list[QueueRow]:
        """Whoever waited longest for its turn comes first: one tenant's flood delays no other by more than a fetch."""
        if len(family.rows) == 1:
            return family.rows
        return sorted(family.rows, key=lambda row: (self._gave.get(row.name, 0), random.random()))

    def _longer_first(self, families: list["_Family"]) -> list["_Family"]:
        """Families of one weight swap the places they drew, the one with most tickets taking the first."""
        by_weight: dict[int, list[int]] = {}
        for place, family in enumerate(families):
            by_weight.setdefault(family.weight, []).append(place)
        if len(by_weight) == len(families):
            return families
        depths = self._known_depths([row for family in families for row in family.rows])
        ordered = list(families)
        for places in by_weight.values():
            longest = sorted((families[p] for p in places), key=lambda f: -f.depth(depths))
            for place, family in zip(places, longest, strict=True):
                ordered[place] = family
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
