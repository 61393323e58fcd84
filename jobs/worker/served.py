"""Which rings and ticket lists a worker looks at, in which order, and how much it takes of each."""

import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.domain.errors import RedisUnavailable
from jobs.domain.states import Lane
from jobs.store import catalog, keys, rings
from jobs.store.catalog import QueueRow
from jobs.store.redis import Batch
from jobs.worker.shares import Shares

_LENGTHS_S = 1.0
_TURNS_KEPT = 10_000
_LEAST_SHARE = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """What shares a base queue's weight: the ring of its tenants' queues, or those of them that are named."""

    base: str
    weight: int
    members: Sequence[QueueRow]
    whole: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One fetch: `sources` (keys) and `shares` go together; `families` names the base of each source."""

    lane: Lane
    sources: list[str]
    shares: list[int]
    families: list[str]
    weights: dict[str, float]


class Served:
    """The queues of this worker (none named: all): a base queue with all its tenants', or a tenant's queue alone.

    Each base queue gives as its weight says; `strict`: the highest weight first. Queues of one weight share by their
    lengths, the longer one first. The tenants of a base give in turn.
    """

    def __init__(self, names: Sequence[str], *, strict: bool) -> None:
        self._names = frozenset(names)
        self._strict = strict
        self._shares: dict[Lane, Shares] = {}
        self._lengths: dict[str, int] = {}
        self._lengths_at_s = 0.0
        self._gave: dict[str, int] = {}
        self._turns = 0

    def check(self) -> None:
        """Raises UnknownQueue for a name that is no queue."""
        known = catalog.queues(fresh=True)
        for name in sorted(self._names):
            known.get(name)

    def names(self) -> list[str]:
        """What this worker serves, as it was named: a base stands for its tenants' queues too."""
        known = catalog.queues()
        return sorted(self._names) if self._names else [row.name for row in known.bases]

    def serves(self, row: QueueRow) -> bool:
        """Whether tasks of this queue are taken (when it is not paused)."""
        base = catalog.queues().base(row)
        return not self._names or row.name in self._names or base.name in self._names

    def plan(self, lane: Lane, want: int) -> Plan:
        """What to fetch from now, first one first."""
        families = {family.base: family for family in self._families()}
        weights = self._weights(list(families.values()))
        if self._strict:
            key = self._known_lengths(list(families.values()))
            order = sorted(weights, key=lambda b: (-families[b].weight, -key.get(b, 0)))
            shares = dict.fromkeys(order, want)
        else:
            shares = self._of(lane).split(weights, want, self._lengths)
        made = Plan(lane=lane, sources=[], shares=[], families=[], weights=weights)
        for base, share in shares.items():
            for source in self._sources(families[base], lane):
                made.sources.append(source)
                made.shares.append(share)
                made.families.append(base)
        return made

    def gave(self, plan: Plan, found: Iterable[Batch]) -> None:
        """Count what a fetch brought."""
        given: Counter[str] = Counter()
        for batch in found:
            given[plan.families[batch.source]] += len(batch.ids)
            self.turn_of(batch.queue)
        shares = dict(zip(plan.families, plan.shares, strict=True))
        self._of(plan.lane).gave(plan.weights, shares, given)

    def in_turn(self, plan: Plan, rows: Iterable[QueueRow], most: int) -> list[QueueRow]:
        """Up to `most` queues to claim from without tickets, of each base as many as there are places for.

        The bases in the plan's order, and in each of them whoever was asked longest ago first.
        """
        known, bases = catalog.queues(), dict[str, list[QueueRow]]()
        for base in plan.families:
            bases.setdefault(base, [])
        for row in rows:
            if self.serves(row) and not row.paused:
                bases.setdefault(known.base(row).name, []).append(row)
        ranked = [
            (rank, place, row)
            for place, members in enumerate(bases.values())
            for rank, row in enumerate(sorted(members, key=self._last_turn))
        ]
        ranked.sort(key=lambda entry: entry[:2])
        return [row for _, _, row in sorted(ranked[:most], key=lambda entry: entry[1::-1])]

    def gave_rows(self, plan: Plan, asked: Iterable[int], given: Mapping[int, int]) -> None:
        """Count what a claim without tickets brought (queue id → how many), and whose turn it was."""
        known, sums = catalog.queues(), Counter[str]()
        for queue_id in asked:
            self.turn_of(known.name(queue_id))
        for queue_id, count in given.items():
            if queue_id in known.by_id:
                sums[known.base(known.by_id[queue_id]).name] += count
        shares = dict(zip(plan.families, plan.shares, strict=True))
        self._of(plan.lane).gave(plan.weights, shares, sums)

    def turn_of(self, queue: str) -> None:
        """This queue was asked: others of its base come first next time."""
        if len(self._gave) > _TURNS_KEPT:
            self._gave.clear()
        self._turns += 1
        self._gave[queue] = self._turns

    def _last_turn(self, row: QueueRow) -> tuple[int, float]:
        return self._gave.get(row.name, 0), random.random()

    def _of(self, lane: Lane) -> Shares:
        return self._shares.setdefault(lane, Shares())

    def _families(self) -> list[Family]:
        known = catalog.queues()
        if not self._names:
            return [_whole(row) for row in known.bases]
        named = [known.by_name[name] for name in sorted(self._names) if name in known.by_name]
        found = {row.name: _whole(row) for row in named if row.base_id is None}
        alone: dict[str, list[QueueRow]] = {}
        for row in named:
            base = known.base(row)
            if base.name not in found and not row.paused:
                alone.setdefault(base.name, []).append(row)
        for name, rows in alone.items():
            weight = known.by_name[name].weight
            found[name] = Family(base=name, weight=weight, members=rows, whole=False)
        return list(found.values())

    def _sources(self, family: Family, lane: Lane) -> list[str]:
        if family.whole:
            return [keys.ring(family.base, lane)]
        rows = sorted(family.members, key=self._last_turn)
        return [keys.tickets(row.name, lane) for row in rows]

    def _weights(self, families: list[Family]) -> dict[str, float]:
        """Of families of one weight those that hold tickets share their weights by their lengths."""
        alike = Counter(family.weight for family in families)
        lengths = self._known_lengths([f for f in families if alike[f.weight] > 1])
        full, sums = Counter[int](), Counter[int]()
        for family in families:
            length = lengths.get(family.base, 0)
            full[family.weight] += length > 0
            sums[family.weight] += length
        return {
            f.base: max(
                f.weight * _LEAST_SHARE,
                f.weight * full[f.weight] * lengths.get(f.base, 0) / sums[f.weight],
            )
            if sums[f.weight]
            else float(f.weight)
            for f in families
        }

    def _known_lengths(self, families: list[Family]) -> dict[str, int]:
        """Tickets per base, at most a second old; empty without Redis."""
        now_s = time.monotonic()
        if families and now_s - self._lengths_at_s > _LENGTHS_S:
            self._lengths_at_s = now_s
            bases = [family.base for family in families]
            try:
                self._lengths = dict(
                    zip(bases, rings.lengths([keys.ring(b) for b in bases]), strict=True)
                )
            except RedisUnavailable:
                self._lengths = {}
        return self._lengths


def _whole(row: QueueRow) -> Family:
    return Family(base=row.name, weight=row.weight, members=(), whole=True)
