"""What happened to one task: its runs and its timeline."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from jobs.domain import ids
from jobs.domain.errors import TaskNotFound
from jobs.domain.outcomes import Kind
from jobs.domain.states import State, Status
from jobs.selectors.masking import masked
from jobs.selectors.paging import Page, whole
from jobs.store import postgres, sealed

MOST = 1000


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Kept are the failed ones, those with a result, the last one and the present one.

    Secrets in `result` are masked: whoever is to have it takes the task's own.
    """

    attempt: int
    job_id: str
    outcome: str
    started_at: datetime | None
    ended_at: datetime | None
    duration: float | None
    worker: str | None
    error: str | None
    result: Any


class TimelineEvent(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    kind: str
    actor: str
    detail: dict[str, Any]


def attempts(task_id: UUID, tenant_id: int = 1) -> Page[Attempt]:
    """Oldest first. Raises TaskNotFound."""
    task = _task(task_id, tenant_id)
    state, status, runs, started_at, finished_at, custom_id, worker = task[:7]
    job_id = _job_ids(task_id, custom_id or ids.public_id(task_id))
    rows = postgres.query(
        "SELECT r.run, r.kind, r.started_at, r.ended_at, w.name, left(r.error, 4000), r.result FROM task_run r"
        " LEFT JOIN worker w ON w.id = r.worker_id WHERE r.task_id = %s ORDER BY r.id DESC LIMIT %s",
        [task_id, MOST],
    )
    found = [_attempt(job_id, row) for row in reversed(rows)]
    if state == State.ACTIVE:
        found.append(_attempt(job_id, (runs, None, started_at, None, worker, None, None)))
    elif status == Status.SUCCESS and runs > max((a.attempt for a in found), default=0):
        found.append(
            _attempt(job_id, (runs, Kind.SUCCEEDED, started_at, finished_at, None, None, None))
        )
    return whole(found)


def events(task_id: UUID, tenant_id: int = 1) -> Page[TimelineEvent]:
    """Oldest first, from the submit on. Raises TaskNotFound."""
    task = _task(task_id, tenant_id)
    state, status, finished_at, created_at, submitted_by = task[0], task[1], task[4], *task[7:9]
    rows = postgres.query(
        "SELECT at, kind, actor, detail FROM event WHERE task_id = %s ORDER BY id DESC LIMIT %s",
        [task_id, MOST],
    )
    found = [_event(created_at, "submitted", submitted_by or "system")]
    found += [
        _event(at, kind, actor, msgspec.json.decode(detail))
        for at, kind, actor, detail in reversed(rows)
    ]
    if state == State.COMPLETED or (state, status) == (State.ARCHIVED, Status.FAILURE):
        found.append(_event(finished_at, "ended", detail={"status": Status(status).wire}))
    return whole(sorted(found, key=lambda event: event.at))


def _event(
    at: datetime, kind: str, actor: str = "system", detail: dict[str, Any] | None = None
) -> TimelineEvent:
    return TimelineEvent(at=at, kind=kind, actor=actor, detail=detail or {})


def _task(task_id: UUID, tenant_id: int) -> postgres.Row:
    rows = postgres.query(
        "SELECT t.state, t.status, t.runs, t.started_at, coalesce(t.finished_at, (SELECT r.ended_at FROM task_run r"
        "  WHERE r.task_id = t.id AND r.error IS NOT NULL ORDER BY r.id DESC LIMIT 1), i.created_at),"
        " i.custom_id, w.name, i.created_at, i.options ->> 'actor'"
        " FROM task t JOIN task_info i ON i.id = t.id LEFT JOIN worker w ON w.id = t.worker_id"
        " WHERE t.id = %s AND t.tenant_id = %s",
        [task_id, tenant_id],
    )
    if not rows:
        raise TaskNotFound(task_id=ids.public_id(task_id))
    return rows[0]


def _job_ids(task_id: UUID, public: str) -> Callable[[int], str]:
    """From a run's number to its public id: the first run of a redrive carries the redrive's time."""
    rows = postgres.query(
        "SELECT (detail ->> 'runs')::int, floor(extract(epoch FROM at))::bigint FROM event"
        " WHERE task_id = %s AND kind = 'redrive' ORDER BY id DESC LIMIT %s",
        [task_id, MOST],
    )
    redriven: dict[int, int] = dict(reversed(rows))

    def job_id(run: int) -> str:
        begun = max(run - 1, 0)
        if begun in redriven:
            return ids.redriven_job_id(public, redriven[begun])
        return ids.job_id(public, begun)

    return job_id


def _attempt(job_id: Callable[[int], str], row: postgres.Row) -> Attempt:
    run, kind, started_at, ended_at, worker, error, result = row
    took = ended_at - started_at if ended_at and started_at else None
    return Attempt(
        attempt=run,
        job_id=job_id(run),
        outcome="running" if kind is None else Kind(kind).name.lower(),
        started_at=started_at,
        ended_at=ended_at,
        duration=None if took is None else round(took.total_seconds(), 3),
        worker=worker,
        error=error,
        result=None if result is None else masked(msgspec.json.decode(sealed.shown(result))),
    )
