"""How much of a platform we use at once: tasks submitted and not ended, and requests a second."""

from enum import Enum

from django.db import transaction

from jobs.lifecycle import rate
from jobs.lifecycle.rate import Gate, Taken
from jobs.store import postgres


class Begun(Enum):
    """STARTED: the request to create may leave. BEFORE: one left earlier. FULL: the platform has enough of us."""

    STARTED = "started"
    BEFORE = "before"
    FULL = "full"


def begin_submit(task_id: str, platform_id: int, max_concurrency: int | None) -> Begun:
    """Note that the request to create is about to leave, unless `max_concurrency` tasks are open over there.

    With a limit the platform's row is locked meanwhile: all workers count the same tasks.
    """
    if max_concurrency is None:
        return Begun.STARTED if _note_submit(task_id) else Begun.BEFORE
    with transaction.atomic():
        postgres.query("SELECT 1 FROM platform WHERE id = %s FOR NO KEY UPDATE", [platform_id])
        [(open_count,)] = postgres.query(
            "SELECT count(*) FROM (SELECT 1 FROM platform_task WHERE platform_id = %s"
            " AND submit_started_at IS NOT NULL AND ended_at IS NULL AND task_id <> %s LIMIT %s) x",
            [platform_id, task_id, max_concurrency],
        )
        if open_count >= max_concurrency:
            return Begun.FULL
        return Begun.STARTED if _note_submit(task_id) else Begun.BEFORE


def take_rate(platform_id: int, rate_per_s: float | None, wanted: int) -> Taken:
    """How many of `wanted` requests may leave now; no rate, no limit and no query."""
    if rate_per_s is None or wanted == 0:
        return Taken(allowed=wanted, waits_s=[])
    with transaction.atomic():
        next_s, promised_s, now_s = _locked_gate(platform_id)
        gate, taken = rate.take(
            Gate(next_s=next_s, promised_s=promised_s), wanted, rate_per_s, now_s
        )
        postgres.query(
            "UPDATE platform_gate SET next_at = to_timestamp(%s), promised_at = to_timestamp(%s)"
            " WHERE platform_id = %s RETURNING 1",
            [gate.next_s, gate.promised_s, platform_id],
        )
    return taken


def _locked_gate(platform_id: int) -> tuple[float, float, float]:
    """When the next request is due, up to when times are promised, and now: the clock is read under the lock."""
    sql = (
        "WITH g AS MATERIALIZED (SELECT * FROM platform_gate WHERE platform_id = %s FOR NO KEY UPDATE)"
        " SELECT extract(epoch FROM next_at)::float8, extract(epoch FROM promised_at)::float8,"
        " extract(epoch FROM clock_timestamp())::float8 FROM g"
    )
    rows = postgres.query(sql, [platform_id])
    if not rows:
        postgres.query(
            "INSERT INTO platform_gate (platform_id, next_at, promised_at)"
            " VALUES (%s, to_timestamp(0), to_timestamp(0)) ON CONFLICT DO NOTHING RETURNING 1",
            [platform_id],
        )
        rows = postgres.query(sql, [platform_id])
    [(next_s, promised_s, now_s)] = rows
    return next_s, promised_s, now_s


def submit_not_sent(task_id: str) -> None:
    """The request certainly created nothing: it may be sent again."""
    postgres.query(
        "UPDATE platform_task SET submit_started_at = NULL WHERE task_id = %s AND external_id IS NULL RETURNING 1",
        [task_id],
    )


def _note_submit(task_id: str) -> bool:
    return bool(
        postgres.query(
            "UPDATE platform_task SET submit_started_at = clock_timestamp()"
            " WHERE task_id = %s AND submit_started_at IS NULL RETURNING 1",
            [task_id],
        )
    )
