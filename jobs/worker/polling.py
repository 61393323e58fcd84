"""The fallback poller: runs claimed from the rows alone, while Redis is away or not used."""

import random
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

from jobs.domain.states import Lane
from jobs.operations import quotas, refilling, row_claims
from jobs.operations.runs import Run
from jobs.store import catalog
from jobs.store.redis import TURN
from jobs.worker.rooms import rooms

if TYPE_CHECKING:
    from jobs.worker.engine import Engine

log = structlog.get_logger("worker")

_PAUSE_S = 0.25
_MOST_QUEUES = 200


class Poller:
    """One poll per `TASK_POLL_INTERVAL`; at once again while there is more than was taken."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._at_s = 0.0

    def soon(self) -> None:
        """Poll at a random moment within half a second: not all workers at once."""
        self._at_s = time.monotonic() + random.uniform(0, 0.5)

    def poll(self) -> list[Run] | None:
        """Claimed runs; None: it was not time to look, or there was no free slot."""
        engine, now_s = self._engine, time.monotonic()
        if not settings.UPDATE_TASK:
            engine.pause(_PAUSE_S)
            return None
        if now_s < self._at_s:
            engine.pause(min(_PAUSE_S, self._at_s - now_s))
            return None
        want = engine.slots.want()
        if want == 0:
            engine.slots.freed.wait(_PAUSE_S)
            engine.slots.freed.clear()
            return None
        claimed = self._claim(want)
        if len(claimed) < want and not engine.burst:
            self._at_s = now_s + settings.TASK_POLL_INTERVAL * random.uniform(0.9, 1.1)
        return claimed

    def _claim(self, want: int) -> list[Run]:
        engine, known = self._engine, catalog.queues()
        left = rooms(engine, {})
        plan = engine.served.plan(Lane.ASYNC, want)
        rows = engine.served.in_turn(plan, self._waiting(left), _MOST_QUEUES)
        turn = max(TURN, want // max(1, len(rows)))
        mosts = [left.get(row.name, want) for row in rows]
        done = row_claims.claim_pending(
            engine.worker_id,
            [(row, min(turn, most), most) for row, most in zip(rows, mosts, strict=True)],
            want,
            {
                known.by_name[base].id: n
                for base, n in zip(plan.families, plan.shares, strict=True)
                if base in known.by_name
            },
        )
        engine.served.gave_rows(plan, done.asked, Counter(run.queue_id for run in done.runs))
        if done.runs:
            log.info("[兜底轮询]", found=len(done.runs))
        return done.runs

    def _waiting(self, left: Mapping[str, int]) -> list[catalog.QueueRow]:
        """The queues with pending tasks of which some may start here."""
        known = catalog.queues().by_id
        rows = [known[queue_id] for queue_id in refilling.waiting_queues() if queue_id in known]
        full = quotas.full({row.tenant_id for row in rows})
        return [row for row in rows if left.get(row.name, 1) > 0 and row.tenant_id not in full]
