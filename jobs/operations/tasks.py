"""Submitting: the one way in, for Python and REST alike."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction

from jobs.domain import ids
from jobs.domain.errors import InsufficientCredits, Invalid, TaskCenterError
from jobs.domain.states import State
from jobs.operations import inserts, limits, queues, tenants, tickets
from jobs.operations.locks import Refused, Stored
from jobs.operations.planned_types import unfolded
from jobs.operations.preparing import prepare
from jobs.operations.requests import Prepared, TaskRequest
from jobs.store import catalog

log = structlog.get_logger("asynq")

CHUNK = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """An accepted task. `existing`: an earlier submit with the same idempotency key made it.

    `run_at` and `created_at` are the new row's; None for an existing one.
    """

    index: int
    id: UUID
    task_id: str
    job_id: str
    queue: str
    state: State
    prepared: Prepared
    deferred: bool = False
    existing: bool = False
    run_at: datetime | None = None
    created_at: datetime | None = None


def submit(type: str, payload: Any = None, *, tenant_id: int = 1, **options: Any) -> Submitted:
    """Submit one task in the caller's own transaction; its ticket goes out after the commit.

    `options` are the fields of TaskRequest. Raises the TaskCenterError that applies.
    """
    try:
        request = TaskRequest(type=type, payload={} if payload is None else payload, **options)
    except TypeError as error:
        raise Invalid("Unknown option: %(reason)s", reason=str(error)) from error
    return submit_request(request, tenant_id=tenant_id)


def submit_request(
    request: TaskRequest,
    *,
    tenant_id: int = 1,
    limited: bool = True,
    internal: bool = False,
    actor: str | None = None,
) -> Submitted:
    """Like `submit` for a request that was decoded elsewhere."""
    [result] = submit_many(
        [request], tenant_id=tenant_id, limited=limited, internal=internal, actor=actor
    )
    if isinstance(result, Refused):
        raise result.error
    return result


def submit_many(
    requests: Sequence[TaskRequest],
    *,
    tenant_id: int = 1,
    limited: bool = True,
    internal: bool = False,
    actor: str | None = None,
) -> list[Submitted | Refused]:
    """Submit many tasks; each item has its own result, in the order given. One round trip to each store per chunk.

    `limited=False`: neither back-pressure nor quota refuses any. `internal`: idempotency keys that no caller can take.
    `actor`: who asks, as a task's events tell it; None: the house itself.
    """
    room = tenants.Room(tenant_id if limited else catalog.DEFAULT_TENANT)
    results: dict[int, Submitted | Refused] = {}
    prepared: list[Prepared] = []
    for index, request in enumerate(requests):
        try:
            asked = unfolded(request)
            item = prepare(asked, index=index, tenant_id=tenant_id, limited=limited, actor=actor)
            item.internal = internal
            room.take(1 + len(item.children))
            prepared.append(item)
        except TaskCenterError as error:
            results[index] = Refused(index=index, error=error)
    for start in range(0, len(prepared), CHUNK):
        for result in _submit_chunk(prepared[start : start + CHUNK]):
            results[result.index] = result
    return [results[index] for index in range(len(requests))]


def _submit_chunk(chunk: list[Prepared]) -> list[Submitted | Refused]:
    tickets.warm()
    try:
        with nullcontext() if _is_one_statement(chunk) else transaction.atomic():
            stored = inserts.store(chunk)
    except InsufficientCredits as short:
        if len(chunk) == 1:
            return [Refused(index=chunk[0].index, error=short)]
        return _apart(chunk, short)
    queues.revive_soon(_wanted_again(chunk, stored.fresh))
    deferred = _send(stored.fresh)
    limits.admit_soon(i.limit_id for item in chunk for i in (item, *item.children) if i.in_line)
    asked = {prepared.index: prepared for prepared in chunk}
    return [
        *stored.refused,
        *(_result(item, asked[item.index], deferred) for item in stored.accepted),
    ]


def _wanted_again(chunk: Sequence[Prepared], fresh: Sequence[Stored]) -> set[int]:
    """The deleted queues that now hold tasks."""
    removed = {item.queue.id for item in chunk if item.queue.removed}
    return {row.queue_id for row in fresh if row.queue_id in removed} if removed else removed


def _is_one_statement(chunk: Sequence[Prepared]) -> bool:
    """Plain tasks are stored by a single INSERT, which is its own transaction: two round trips less."""
    if transaction.get_connection().in_atomic_block:
        return False
    return not any(
        i.flags
        or i.credits
        or i.waits
        or i.lock_key
        or i.request.idempotency_key
        or i.request.after
        for i in chunk
    )


def _apart(chunk: list[Prepared], short: InsufficientCredits) -> list[Submitted | Refused]:
    """Somebody in the chunk is short of credits: those users' items go one by one, the rest together."""
    users = set(short.details.get("users") or ())  # type: ignore[call-overload]
    alone = [item for item in chunk if item.credits and item.request.user_id in users]
    rest = [item for item in chunk if item not in alone]
    results = _submit_chunk(rest) if rest else []
    for item in alone:
        results.extend(_submit_chunk([item]))
    return results


def _send(fresh: Iterable[Stored]) -> set[str]:
    """Push tickets now, or at the caller's commit; returns ids known to be deferred."""
    ready = [row for row in fresh if row.state is State.PENDING]
    deferred = {str(row.id) for row in ready if row.ticket == 0}
    stamped = [row for row in ready if row.ticket]
    _log_enqueued(ready)
    for front in (False, True):
        batch = tickets.tickets_of(
            [(str(r.id), r.queue_id, r.lane) for r in stamped if r.front is front]
        )
        if not batch:
            continue
        if transaction.get_connection().in_atomic_block:
            tickets.push_after_commit(batch, front=front)
        else:
            deferred |= tickets.push(batch, front=front)
    return deferred


def _log_enqueued(rows: Sequence[Stored]) -> None:
    if len(rows) == 1:
        row = rows[0]
        log.info(
            "[Asynq] Task enqueued",
            task_id=ids.public_id(row.id),
            queue=catalog.queues().name(row.queue_id),
        )
    elif rows:
        log.info("[Asynq] Task enqueued", count=len(rows), first=ids.public_id(rows[0].id))


def _result(item: Stored, prepared: Prepared, deferred: set[str]) -> Submitted:
    return Submitted(
        index=item.index,
        id=item.id,
        task_id=item.public_id,
        job_id=ids.job_id(item.public_id, 0),
        queue=catalog.queues().name(item.queue_id),
        state=item.state,
        deferred=str(item.id) in deferred,
        existing=item.existing,
        prepared=prepared,
        run_at=item.run_at,
        created_at=item.created_at,
    )
