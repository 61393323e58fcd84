"""What happened to one task: its runs and its timeline."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from jobs.domain import ids
from jobs.domain.errors import TaskNotFound
from jobs.domain.outcomes import Kind
from jobs.domain.states import State, Status
from jobs.selectors.paging import Page, whole
from jobs.store import postgres, sealed

MOST = 1000


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Kept are the failed ones, those with a result, the last one and the present one."""

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
    state, status, runs, started_at, finished_at, custom_id, worker, _ = _task(task_id, tenant_id)
    public = custom_id or ids.public_id(task_id)
    rows = postgres.query(
        "SELECT r.run, r.kind, r.started_at, r.ended_at, w.name, left(r.error, 4000), r.result FROM task_run r"
        " LEFT JOIN worker w ON w.id = r.worker_id WHERE r.task_id = %s ORDER BY r.id DESC LIMIT %s",
        [task_id, MOST],
    )
    found = [_attempt(public, row) for row in reversed(rows)]
    if state == State.ACTIVE:
        found.append(_attempt(public, (runs, None, started_at, None, worker, None, None)))
    elif status == Status.SUCCESS and runs > max((a.attempt for a in found), default=0):
        found.append(
            _attempt(public, (runs, Kind.SUCCEEDED, started_at, finished_at, None, None, None))
        )
    return whole(found)


def events(task_id: UUID, tenant_id: int = 1) -> Page[TimelineEvent]:
    """Oldest first, from the submit on. Raises TaskNotFound."""
    state, status, _, _, finished_at, _, _, created_at = _task(task_id, tenant_id)
    rows = postgres.query(
        "SELECT at, kind, actor, detail FROM event WHERE task_id = %s ORDER BY id DESC LIMIT %s",
        [task_id, MOST],
    )
    found = [_event(created_at, "submitted")]
    found += [
        _event(at, kind, actor, msgspec.json.decode(detail))
        for at, kind, actor, detail in reversed(rows)
    ]
    if state == State.COMPLETED:
        found.append(_event(finished_at, "ended", detail={"status": Status(status).wire}))
    return whole(sorted(found, key=lambda event: event.at))


def _event(
    at: datetime, kind: str, actor: str = "system", detail: dict[str, Any] | None = None
) -> TimelineEvent:
    return TimelineEvent(at=at, kind=kind, actor=actor, detail=detail or {})


def _task(task_id: UUID, tenant_id: int) -> postgres.Row:
    rows = postgres.query(
        "SELECT t.state, t.status, t.runs, t.started_at, t.finished_at, i.custom_id, w.name, i.created_at"
        " FROM task t JOIN task_info i ON i.id = t.id LEFT JOIN worker w ON w.id = t.worker_id"
        " WHERE t.id = %s AND t.tenant_id = %s",
        [task_id, tenant_id],
    )
    if not rows:
        raise TaskNotFound(task_id=ids.public_id(task_id))
    return rows[0]


def _attempt(public: str, row: postgres.Row) -> Attempt:
    run, kind, started_at, ended_at, worker, error, result = row
    took = ended_at - started_at if ended_at and started_at else None
    return Attempt(
        attempt=run,
        job_id=ids.job_id(public, max(run - 1, 0)),
        outcome="running" if kind is None else Kind(kind).name.lower(),
        started_at=started_at,
        ended_at=ended_at,
        duration=None if took is None else round(took.total_seconds(), 3),
        worker=worker,
        error=error,
        result=None if result is None else msgspec.Raw(sealed.shown(result).encode()),
    )
