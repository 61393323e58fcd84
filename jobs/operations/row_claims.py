"""Claims without tickets, for the fallback poller: of one queue's rows after the other, by shares and in turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import transaction

from jobs.operations import quotas, runs, tickets
from jobs.operations.runs import Run
from jobs.store import postgres
from jobs.store.catalog import QueueRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """`asked`: ids of the queues that have had their turn, whether they gave or not."""

    runs: list[Run]
    asked: list[int]


class _Picking:
    """What was picked so far; `rooms`: how many more tasks of a limited tenant may start."""

    def __init__(self, want: int, rooms: dict[int, int]) -> None:
        self.ids: dict[str, int] = {}
        self.asked: dict[int, None] = {}
        self._want = want
        self._rooms = rooms
        self._taken: dict[int, int] = {}
        self._empty: set[int] = set()

    def take(self, row: QueueRow, most: int) -> int:
        """The next of a queue that nobody holds, `most` with those that it gave before; returns how many."""
        left = self._want - len(self.ids)
        if left > 0 and self._rooms.get(row.tenant_id) == 0:
            self.asked[row.id] = None
        taken = self._taken.get(row.id, 0)
        count = min(most - taken, left, self._rooms.get(row.tenant_id, left))
        if count <= 0 or row.id in self._empty:
            return 0
        rows = postgres.query(
            "SELECT id::text FROM task WHERE state = 1 AND queue_id = %s ORDER BY ord LIMIT %s OFFSET %s"
            " FOR NO KEY UPDATE SKIP LOCKED",
            [row.id, count, taken],
        )
        self.asked[row.id] = None
        for (id_,) in rows:
            self.ids.setdefault(id_, len(self.ids))
        self._taken[row.id] = taken + len(rows)
        if row.tenant_id in self._rooms:
            self._rooms[row.tenant_id] -= len(rows)
        if len(rows) < count:
            self._empty.add(row.id)
        return len(rows)


def claim_pending(
    worker_id: int,
    queues: Sequence[tuple[QueueRow, int, int]],
    want: int,
    shares: Mapping[int, int] | None = None,
) -> Claimed:
    """Claim `want` runs: (queue, its turn, the most it may give) in this order. Tenants' limits are kept under a lock.

    First each base (by id) gives up to its share in turns, then any of them its turn, then whoever has more.
    """
    with transaction.atomic():
        tickets.ordered_plan()
        picking = _Picking(want, quotas.room_locked({row.tenant_id for row, _, _ in queues}))
        left = dict(shares or {})
        for row, turn, _ in queues if left else ():
            base = row.base_id or row.id
            left[base] = left.get(base, 0) - picking.take(row, min(turn, left.get(base, 0)))
        for row, turn, _ in queues:
            picking.take(row, turn)
        for row, _, most in queues:
            picking.take(row, most)
        claimed = runs.claim(worker_id, list(picking.ids)) if picking.ids else []
    claimed.sort(key=lambda run: picking.ids[run.id])
    return Claimed(runs=claimed, asked=list(picking.asked))
