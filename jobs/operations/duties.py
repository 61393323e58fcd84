"""The house's own work, done by whoever holds the duty's lease; every pass is bounded and safe to do twice."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import structlog
from django.db import transaction

from jobs.domain.outcomes import Kind
from jobs.domain.states import State, Status
from jobs.lifecycle.backpressure import Level, Pressure, log_line, step, utilisation
from jobs.operations import endings, limits, queues, refilling, tickets
from jobs.operations.endings import Finish
from jobs.store import catalog, postgres

log = structlog.get_logger("duties")

NAMES = (
    "dispatch",
    "rescue",
    "refill",
    "fold",
    "deadlines",
    "prune",
    "look",
    "groups",
    "aftermath",
    "limits",
    "plans",
    "billing",
    "ledger",
    "audit",
)
# What a process that runs no tasks may take over: rescue needs an observer that was on time for a whole lease.
SWEEPS = ("fold", "deadlines", "prune", "groups", "aftermath", "look", "billing", "ledger", "audit")
EPOCH_ZERO = datetime(1970, 1, 1, tzinfo=UTC)
DISPATCH_BATCH = 200
PRUNE_BATCH = 500
IDEMPOTENCY_KEPT_S = 72 * 3600
DEAD_WORKER_KEPT_S = 86_400
_IDEMPOTENCY_BATCHES = 10
HISTORY_KEPT_DAYS = 90


def take(holder: str, names: Sequence[str] = NAMES, *, lease_s: float = 10.0) -> set[str]:
    """Take or renew duties; returns those that `holder` has now."""
    return {
        row[0]
        for row in postgres.fetch(
            "duty_take", {"holder": holder, "names": list(names), "lease_s": lease_s}
        )
    }


def release(holder: str) -> None:
    """Give up all duties at once (orderly stop)."""
    postgres.query(
        "UPDATE duty SET until = clock_timestamp() WHERE holder = %s RETURNING 1", [holder]
    )


def dispatch(floor: datetime = EPOCH_ZERO) -> tuple[int, datetime | None]:
    """Turn one batch of due rows into pending ones with tickets; returns (how many, oldest due time seen).

    `floor` skips index entries at the head that an old snapshot keeps; pass the default every few seconds.
    """
    stamp = tickets.stamp("")
    with transaction.atomic():
        tickets.ordered_plan()
        rows = postgres.fetch(
            "task_dispatch", {"floor": floor, "limit": DISPATCH_BATCH, "epoch": stamp}
        )
    if rows and stamp:
        ready = [(r[0], r[1], r[2]) for r in rows if r[4] == State.PENDING]
        tickets.push(tickets.tickets_of(ready))
    limits.admit_soon(r[5] for r in rows if r[4] != State.PENDING)
    oldest = min((r[3] for r in rows), default=None)
    return len(rows), oldest


def next_due_s(floor: datetime = EPOCH_ZERO, *, at_most_s: float = 0.25) -> float:
    """Seconds until the next row after `floor` is due (see `dispatch`), between 0 and `at_most_s`."""
    rows = postgres.query(
        "SELECT extract(epoch FROM min(run_at) - clock_timestamp())::float8 FROM task WHERE run_at > %s",
        [floor],
    )
    due_s = rows[0][0]
    return at_most_s if due_s is None else max(0.0, min(at_most_s, due_s))


def sweep_deadlines() -> int:
    """End waiting tasks whose deadline has passed, refunded: as dead letters, or for good if they waited for others."""
    error = "DeadlineExceeded: the task's deadline passed before it could end"
    dead = Finish(
        state=State.ARCHIVED,
        status=Status.FAILURE,
        sources=(State.PENDING, State.SCHEDULED, State.RETRY, State.ARCHIVED),
        kind=Kind.DEAD,
        reason="deadline",
        error=error,
        dead=True,
        stop_upstream=True,
    )
    waited = Finish(
        state=State.COMPLETED,
        status=Status.FAILURE,
        sources=(State.AGGREGATING,),
        kind=Kind.FAILED,
        reason="deadline",
        error=error,
    )
    with transaction.atomic():
        rows = [row[0] for row in postgres.fetch("task_overdue")]
        return len(endings.finish(rows, dead)) + len(endings.finish(rows, waited)) if rows else 0


def sweep_archived() -> int:
    """Platform tasks that an operator archived end at their time limit like all others: failed and refunded."""
    how = Finish(
        state=State.COMPLETED,
        status=Status.FAILURE,
        sources=(State.ARCHIVED,),
        kind=Kind.FAILED,
        reason="time limit",
        error="TimeLimit: the time limit passed while the task was archived",
        stop_upstream=True,
    )
    with transaction.atomic():
        rows = [row[0] for row in postgres.fetch("platform_overdue")]
        return len(endings.finish(rows, how)) if rows else 0


def fold() -> int:
    """Fold counter deltas, set each queue's back-pressure level, bring back deleted ones that hold tasks.

    These are of a redrive, or of a submit that came with the deletion or died after its commit. Returns rows changed.
    """
    changed = len(postgres.fetch("stat_fold"))
    pending, known = refilling.pending_counts(), catalog.queues(fresh=True)
    _set_levels(pending, known)
    rows = [known.by_id[queue_id] for queue_id in pending if queue_id in known.by_id]
    queues.revive([row.id for row in rows if row.removed])
    return changed


def prune() -> int:
    """Remove a batch of tasks that outlived their retention, and old keys, locks and workers; logged and counted."""
    rows = postgres.fetch("task_prune", {"limit": PRUNE_BATCH})
    dead = sum(1 for row in rows if row[1] == State.ARCHIVED)
    if rows:
        log.info("pruned", tasks=len(rows), dead_letters=dead)
    _prune_idempotency()
    limits.prune(PRUNE_BATCH)
    postgres.query(
        "DELETE FROM unique_lock WHERE key = ANY(ARRAY(SELECT key FROM unique_lock"
        " WHERE until < (SELECT clock_timestamp()) - interval '1 hour' ORDER BY until LIMIT 500)) RETURNING 1"
    )
    postgres.fetch("worker_prune", {"kept_s": DEAD_WORKER_KEPT_S, "limit": PRUNE_BATCH})
    postgres.query(
        "DELETE FROM queue_day WHERE day < (clock_timestamp() AT TIME ZONE 'UTC')::date - %s RETURNING 1",
        [HISTORY_KEPT_DAYS],
    )
    return len(rows)


_looked_to: tuple[datetime, str] = (EPOCH_ZERO, "")


def _prune_idempotency() -> None:
    """A stretch of the old keys; the next call goes on from there, and from the oldest again after the last."""
    global _looked_to
    for _ in range(_IDEMPOTENCY_BATCHES):
        after, after_key = _looked_to
        params = {"after": after, "after_key": after_key, "limit": PRUNE_BATCH}
        last = postgres.fetch("idempotency_prune", {**params, "kept_s": IDEMPOTENCY_KEPT_S})
        if not last or last[0][0] < PRUNE_BATCH:
            _looked_to = (EPOCH_ZERO, "")
            return
        _looked_to = last[0][1:]


_pressure: dict[int, Pressure] = {}


def _set_levels(pending: Mapping[int, int], known: catalog.Catalog) -> None:
    """One writer, with hysteresis: a level falls only after the queue stayed below its exit mark for a while."""
    now_s = time.monotonic()
    pressed = {row.id for row in known.rows if row.level > 0}
    for queue_id in pending.keys() | pressed:
        row = known.by_id.get(queue_id)
        if row is None or not row.capacity:
            continue
        used = utilisation(pending.get(row.id, 0), row.capacity)
        before = _pressure.get(row.id, Pressure(level=Level(row.level)))
        if before.level != row.level:  # another process had the duty meanwhile
            before = Pressure(level=Level(row.level))
        after = step(before, used, now_s=now_s)
        if after.level:
            _pressure[row.id] = after
        else:
            _pressure.pop(row.id, None)
        line = log_line(row.name, before.level, after.level, used)
        if line:
            postgres.query(
                "UPDATE queue SET level = %s WHERE id = %s RETURNING 1", [int(after.level), row.id]
            )
            log.warning(line)
            catalog.stale()
