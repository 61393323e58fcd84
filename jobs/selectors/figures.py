"""The numbers of /metrics, also what alerts are judged by: O(queues), nothing is changed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from django.db import DatabaseError, transaction

from jobs.contract.reader import contract
from jobs.selectors import breakers, health, platform_silence, queues
from jobs.selectors.queues import LEVELS, QueueView
from jobs.store import postgres

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One metric; counters are named without the `_total` that the exposition adds."""

    name: str
    help: str
    kind: Literal["gauge", "counter"]
    samples: list[tuple[Labels, float]]


_BY_QUEUE: tuple[tuple[str, str, Callable[[QueueView], float]], ...] = (
    ("asynq_queue_size", "Tasks that are pending, active, scheduled or in retry", lambda q: q.size),
    ("asynq_pending_tasks", "Tasks that are ready to run", lambda q: q.pending),
    ("asynq_active_tasks", "Tasks that are running", lambda q: q.active),
    ("asynq_scheduled_tasks", "Tasks that wait for their time", lambda q: q.scheduled),
    ("asynq_retry_tasks", "Tasks that wait for another try", lambda q: q.retry),
    ("asynq_dead_tasks", "Tasks that were archived", lambda q: q.archived),
    ("asynq_completed_tasks", "Ended tasks within their retention", lambda q: q.completed),
    ("asynq_aggregating_tasks", "Tasks that wait for others", lambda q: q.aggregating),
    (
        "taskcenter_oldest_pending_seconds",
        "Age of the oldest pending task",
        lambda q: q.oldest_pending_s,
    ),
    ("taskcenter_queue_paused", "1 while the queue is paused", lambda q: q.paused),
    ("taskcenter_queue_utilization", "Pending tasks / capacity", lambda q: q.utilization),
    (
        "taskcenter_queue_backpressure",
        "0 NORMAL, 1 WARNING, 2 CRITICAL",
        lambda q: LEVELS.index(q.backpressure_state),
    ),
)
_COUNTERS: tuple[tuple[str, str, Callable[[QueueView], float]], ...] = (
    ("asynq_processed", "Runs that ended, failures included, polls not", lambda q: q.processed),
    ("asynq_failed", "Runs that failed", lambda q: q.failed),
    ("taskcenter_submitted", "Tasks accepted", lambda q: q.submitted),
    ("taskcenter_refunds", "Refunds paid", lambda q: q.refunds),
    ("taskcenter_refunded_credits", "Credits refunded", lambda q: q.refunded_credits),
    ("taskcenter_crashes", "Runs whose worker died", lambda q: q.crashed),
    ("taskcenter_fenced", "Late results refused", lambda q: q.fenced),
)


def figures() -> list[Figure]:
    """Everything there is to say now; what cannot be reached is left out, the system's own health never is."""
    found = health.check()
    numbers = [
        _one("asynq_system_health", "1 when the system can do its work", found.healthy),
        _one("asynq_active_workers", "Living worker processes", found.worker_active_count),
        _one("worker_count", "Living worker processes", found.worker_active_count),
        _one("taskcenter_processors", "Slots of all living workers", found.processor_count),
        _one(
            "backpressure_state",
            "Worst queue: 0 NORMAL, 1 WARNING, 2 CRITICAL",
            LEVELS.index(found.backpressure_state),
        ),
        _one("taskcenter_redis_connected", "1 when Redis answers", found.redis_connected),
        _one(
            "taskcenter_postgres_connected", "1 when PostgreSQL answers", found.postgres_connected
        ),
        _one("taskcenter_stopped", "1 while the emergency stop is on", found.stopped),
    ]
    if found.drift is not None:
        numbers.append(
            _one("taskcenter_drift_tasks", "Pending tasks without a ticket in Redis", found.drift)
        )
    if found.secrets_unopened is not None:
        text = "Stored secrets that a process cannot open: its key is missing"
        numbers.append(_one("taskcenter_secrets_unopened", text, found.secrets_unopened))
    if found.postgres_connected:
        numbers.extend(_stored())
    return numbers


def _stored() -> Iterator[Figure]:
    try:
        listed = queues.listing(busy=True)
        for name, text, read in _BY_QUEUE:
            yield _by_queue(name, text, "gauge", listed, read)
        for name, text, read in _COUNTERS:
            yield _by_queue(name, text, "counter", listed, read)
        yield _breakers()
        yield _one(
            "taskcenter_unknown_tasks",
            "Tasks UNKNOWN or lost on their platform for more than 15 minutes, counted up to 10,000",
            sum(platform_silence.counts().values()),
        )
        yield from _books()
        yield _one(
            "taskcenter_oldest_transaction_seconds",
            "Age of the oldest transaction",
            _oldest_transaction_s(),
        )
        yield from _slow()
    except DatabaseError:
        return


def _one(name: str, text: str, value: float) -> Figure:
    return Figure(name=name, help=text, kind="gauge", samples=[((), float(value))])


def _by_queue(
    name: str,
    text: str,
    kind: Literal["gauge", "counter"],
    listed: list[QueueView],
    read: Callable[[QueueView], float],
) -> Figure:
    samples: list[tuple[Labels, float]] = [((("queue", q.queue),), float(read(q))) for q in listed]
    return Figure(name=name, help=text, kind=kind, samples=samples)


def _breakers() -> Figure:
    states = ("CLOSED", "HALF_OPEN", "OPEN")
    samples: list[tuple[Labels, float]] = [
        ((("breaker", b.name),), float(states.index(b.state))) for b in breakers.listing()
    ]
    return Figure(
        name="taskcenter_breaker_state",
        help="0 CLOSED, 1 HALF_OPEN, 2 OPEN",
        kind="gauge",
        samples=samples,
    )


def _books() -> Iterator[Figure]:
    """What the reconciler has found, and entries that wait to be delivered; both tables are all but empty."""
    [(wrong, waiting)] = postgres.query(
        "SELECT (SELECT count(*) FROM ledger_mismatch),"
        " (SELECT count(*) FROM (SELECT 1 FROM billing_outbox LIMIT 10000) x)"
    )
    help_text = "Accounts whose balance is not the sum of entries"
    yield _one("taskcenter_ledger_mismatches", help_text, wrong)
    yield _one("taskcenter_billing_waiting", "Credit entries to be delivered elsewhere", waiting)


def _oldest_transaction_s() -> float:
    rows = postgres.query(
        "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity"
        " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    return max(0.0, float(rows[0][0]))


_PLATFORM_SQL = (
    "SELECT count(*) FILTER (WHERE p.contact_errors >= %s)"
    " FROM task t JOIN platform_task p ON p.task_id = t.id WHERE t.state IN (3, 4) AND t.flags & 2 = 2"
)
_kept: dict[str, tuple[float, postgres.Row | None]] = {}


def _slow() -> Iterator[Figure]:
    """Numbers that need a count: asked rarely, given up after a moment, then left out."""
    limit = contract().polling.contact_error_limit
    seen = _rarely("platform", _PLATFORM_SQL, [limit], every_s=30.0)
    if seen is not None:
        yield _one("taskcenter_parked_tasks", "Tasks parked after too many contact errors", seen[0])


def _rarely(name: str, sql: str, params: list[int], *, every_s: float) -> postgres.Row | None:
    now_s = time.monotonic()
    kept = _kept.get(name)
    if kept is not None and now_s - kept[0] < every_s:
        return kept[1]
    row: postgres.Row | None
    try:
        with transaction.atomic():
            postgres.query("SELECT set_config('statement_timeout', '500ms', true)")
            row = postgres.query(sql, params)[0]
    except DatabaseError:
        row = None
    _kept[name] = (now_s, row)
    return row


def forget() -> None:
    """Ask again at the next question (tests)."""
    _kept.clear()
