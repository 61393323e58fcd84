"""A task as the API and the admin show it."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from jobs.domain import ids
from jobs.domain.errors import Misconfigured
from jobs.domain.states import State, Status
from jobs.selectors.masking import masked
from jobs.store import catalog, postgres, sealed

BASE = "/api/v1"


class Shards(msgspec.Struct, frozen=True, kw_only=True):
    total: int
    done: int
    failed: int


class Related(msgspec.Struct, frozen=True, kw_only=True):
    """Another task that this one waits for, or that waits for it."""

    task_id: str
    state: str
    status: str


class Links(msgspec.Struct, frozen=True, kw_only=True, rename={"this": "self"}):
    this: str
    attempts: str
    events: str


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """`data` of every answer about one task. Durations are seconds.

    `shards` is there for parents only, `limit_key` for tasks under a limit, `parent_id` for shards and collected
    members. `after`: what a chained task still waits for, archived ones first; `awaited_by`: who waits for this one
    (20 of each at most; absent when there are none).
    """

    task_id: str
    job_id: str
    type: str
    queue: str
    origin_queue: str
    state: str
    status: str
    progress: int
    retried: int
    max_retries: int
    attempt: int
    crashes: int
    payload: Any
    result: Any
    last_error: str | None
    fail_reason: str | None
    platform: str | None
    external_id: str | None
    raw_status: str | None
    user_id: int | None
    business_id: str | None
    trace_id: str | None
    tags: list[str]
    headers: dict[str, str]
    credits: int
    refunded_credits: int
    created_at: datetime
    next_process_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    timeout: int | float | None
    deadline: datetime | None
    worker: str | None
    deferred: bool
    links: Links
    shards: Shards | msgspec.UnsetType = msgspec.UNSET
    limit_key: str | msgspec.UnsetType = msgspec.UNSET
    parent_id: str | msgspec.UnsetType = msgspec.UNSET
    after: list[Related] | msgspec.UnsetType = msgspec.UNSET
    awaited_by: list[Related] | msgspec.UnsetType = msgspec.UNSET


class _Row(NamedTuple):
    """One row of task_view.sql; `payload`, `options` and `result` are JSON text (Django leaves jsonb unparsed)."""

    id: UUID
    queue_id: int
    origin_id: int | None
    state: int
    status: int
    progress: int
    retried: int
    max_retries: int
    runs: int
    crashes: int
    credits: int
    run_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    timeout_ms: int | None
    deadline: datetime | None
    ticket: int
    type: str
    user_id: int | None
    business_id: str | None
    trace_id: str | None
    custom_id: str | None
    platform: str | None
    tags: list[str]
    payload: str
    options: str
    created_at: datetime
    worker: str | None
    external_id: str | None
    raw_status: str | None
    error: str | None
    result: str | None
    refunded: int
    reason: str | None
    redriven_runs: int | None
    redriven_at: datetime | None
    total: int | None
    done: int | None
    failed: int | None
    parent: UUID | None
    parent_name: str | None
    after: str | None
    awaited_by: str | None


def of_row(row: postgres.Row, *, mask: bool) -> TaskView:
    """The view of one row of task_view.sql; `mask` hides secrets in payload and result (lists)."""
    r = _Row(*row)
    known, public = catalog.queues(), r.custom_id or ids.public_id(r.id)
    queue = known.name(r.queue_id)
    return TaskView(
        task_id=public,
        job_id=_job_id(r, public),
        type=r.type,
        queue=queue,
        origin_queue=known.name(r.origin_id) if r.origin_id else queue,
        state=State(r.state).wire,
        status=Status(r.status).wire,
        progress=r.progress,
        retried=r.retried,
        max_retries=r.max_retries,
        attempt=r.runs,
        crashes=r.crashes,
        payload=_json(r.payload, mask),
        result=None if r.result is None else _json(r.result, mask),
        last_error=r.error,
        fail_reason=_fail_reason(r),
        platform=r.platform,
        external_id=r.external_id,
        raw_status=r.raw_status,
        user_id=r.user_id,
        business_id=r.business_id,
        trace_id=r.trace_id,
        tags=r.tags,
        headers=_headers(r.options, mask),
        credits=r.credits,
        refunded_credits=r.refunded,
        created_at=r.created_at,
        next_process_at=r.run_at,
        started_at=r.started_at,
        finished_at=r.finished_at,
        timeout=seconds(r.timeout_ms),
        deadline=r.deadline,
        worker=r.worker,
        deferred=r.state == State.PENDING and r.ticket == 0,
        links=links(public),
        shards=_shards(r),
        limit_key=_limit_key(r.options),
        parent_id=_parent(r),
        after=_related(r.after),
        awaited_by=_related(r.awaited_by),
    )


def links(public_id: str) -> Links:
    this = f"{BASE}/tasks/{public_id}"
    return Links(this=this, attempts=f"{this}/attempts", events=f"{this}/events")


def seconds(ms: int | None) -> int | float | None:
    """Milliseconds as seconds, whole ones as an integer."""
    if ms is None:
        return None
    return ms // 1000 if ms % 1000 == 0 else ms / 1000


def run_number(state: int, runs: int) -> int:
    """The n of a task's job id: runs begun before the present, the next or (once ended) the last one."""
    begun = state in (State.ACTIVE, State.ARCHIVED, State.COMPLETED)
    return max(runs - 1, 0) if begun else runs


def _job_id(r: _Row, public: str) -> str:
    n = run_number(r.state, r.runs)
    if r.redriven_at is not None and r.redriven_runs == n:
        return ids.redriven_job_id(public, int(r.redriven_at.timestamp()))
    return ids.job_id(public, n)


def _fail_reason(r: _Row) -> str | None:
    if r.status == Status.CANCELLED:
        return r.reason or first_line(r.error)
    return first_line(r.error) if r.status == Status.FAILURE else None


def first_line(error: str | None) -> str | None:
    return error.split("\n", 1)[0] if error else None


def _headers(options: str, mask: bool) -> dict[str, str]:
    try:
        headers = sealed.headers(options)
    except Misconfigured:
        return {}
    return masked(headers) if mask else headers


def _limit_key(options: str) -> str | msgspec.UnsetType:
    if '"limit_key"' not in options:
        return msgspec.UNSET
    key: str | msgspec.UnsetType = msgspec.json.decode(options).get("limit_key", msgspec.UNSET)
    return key


def _parent(r: _Row) -> str | msgspec.UnsetType:
    """None for members whose group is not collected: what they have as parent is no task."""
    if r.parent is None:
        return msgspec.UNSET
    return r.parent_name or ids.public_id(r.parent)


def _related(listed: str | None) -> list[Related] | msgspec.UnsetType:
    if listed is None:
        return msgspec.UNSET
    return [
        Related(
            task_id=name or ids.public_id(id_),
            state=State(state).wire,
            status=Status(status).wire,
        )
        for id_, name, state, status in msgspec.json.decode(listed)
    ]


def _json(text: str, mask: bool) -> Any:
    text = sealed.shown(text)
    return masked(msgspec.json.decode(text)) if mask else msgspec.Raw(text.encode())


def _shards(r: _Row) -> Shards | msgspec.UnsetType:
    if r.total is None:
        return msgspec.UNSET
    return Shards(total=r.total, done=r.done or 0, failed=r.failed or 0)
