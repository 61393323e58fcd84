"""The answer to a submit, made of what was asked and stored: no second look at the database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from jobs.domain import ids
from jobs.domain.errors import TaskNotFound
from jobs.domain.states import State, Status
from jobs.operations.requests import Prepared, TaskRequest
from jobs.operations.tasks import Submitted
from jobs.selectors import task_view, tasks
from jobs.selectors.task_view import Shards, TaskView


def view(done: Submitted, tenant_id: int) -> TaskView:
    """The task as it was accepted; the same again for a repeated idempotency key."""
    prepared = done.prepared
    if done.existing:
        return _first_answer(done, tenant_id)
    return _view(
        prepared,
        done.task_id,
        done.created_at or datetime.now(UTC),
        run_at=done.run_at,
        deferred=done.deferred,
    )


def _first_answer(done: Submitted, tenant_id: int) -> TaskView:
    """What the first caller was told: the same body makes the same row, only its times and trace are its own."""
    try:
        first = tasks.get(done.id, tenant_id)
    except TaskNotFound:
        return _view(done.prepared, done.task_id, datetime.now(UTC), run_at=None, deferred=False)
    run_at = _due(done.prepared.request, first.created_at)
    again = _view(done.prepared, first.task_id, first.created_at, run_at=run_at, deferred=False)
    return msgspec.structs.replace(again, trace_id=first.trace_id)


def _due(request: TaskRequest, created_at: datetime) -> datetime | None:
    due = request.process_at or created_at + timedelta(seconds=request.process_in or 0.0)
    return due.astimezone(UTC) if due > created_at else None


def _view(
    prepared: Prepared,
    public: str,
    created_at: datetime,
    *,
    run_at: datetime | None,
    deferred: bool,
) -> TaskView:
    request = prepared.request
    return TaskView(
        task_id=public,
        job_id=ids.job_id(public, 0),
        type=prepared.handler.name,
        queue=prepared.queue.name,
        origin_queue=prepared.queue.name,
        state=_state(prepared, run_at).wire,
        status=Status.NOT_START.wire,
        progress=0,
        retried=0,
        max_retries=prepared.max_retries,
        attempt=0,
        crashes=0,
        payload=msgspec.Raw(prepared.payload_json.encode()),
        result=None,
        last_error=None,
        fail_reason=None,
        platform=request.platform,
        external_id=None,
        raw_status=None,
        user_id=request.user_id,
        business_id=request.business_id,
        trace_id=request.trace_id,
        tags=request.tags,
        headers=request.headers,
        credits=prepared.credits,
        refunded_credits=0,
        created_at=created_at,
        next_process_at=None if prepared.waits else run_at,
        started_at=None,
        finished_at=None,
        timeout=task_view.seconds(prepared.timeout_ms),
        deadline=request.deadline.astimezone(UTC) if request.deadline else None,
        worker=None,
        deferred=deferred,
        links=task_view.links(public),
        shards=_shards(prepared),
        limit_key=msgspec.UNSET if prepared.limit_key is None else prepared.limit_key,
    )


def _state(prepared: Prepared, run_at: datetime | None) -> State:
    if prepared.waits:
        return State.AGGREGATING
    if run_at is not None:
        return State.SCHEDULED
    return State.PENDING if prepared.limit_key is None else State.AGGREGATING


def _shards(prepared: Prepared) -> Any:
    if prepared.shards is None:
        return msgspec.UNSET
    return Shards(total=len(prepared.shards), done=0, failed=0)
