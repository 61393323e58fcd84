"""How prepared requests become rows: keys, locks, tasks, charges - in this order, in one transaction."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from jobs.domain.errors import InsufficientCredits, TaskIdInUse
from jobs.domain.states import State
from jobs.models.tasks import Flag
from jobs.operations import chains, credits, limits, tickets
from jobs.operations.locks import (
    Batch,
    Stored,
    answer_repeats,
    refuse,
    release_refused,
    take_idempotency_keys,
    take_unique_locks,
)
from jobs.operations.requests import Prepared
from jobs.store import postgres, sealed


class _Row(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A row as `task_insert` reads it; what is left out is its column's default there."""

    id: UUID
    queue_id: int
    tenant_id: int
    retention_s: int
    max_retries: int
    type: str
    payload: msgspec.Raw
    options: msgspec.Raw
    lane: int = 0
    delay_s: float = 0.0
    at: datetime | None = None
    deadline: datetime | None = None
    timeout_ms: int | None = None
    flags: int = 0
    credits: int = 0
    account_id: int | None = None
    parent_id: UUID | None = None
    waits: bool = False
    front: bool = False
    ticket: int = 0
    user_id: int | None = None
    business_id: str | None = None
    trace_id: str | None = None
    custom_id: str | None = None
    platform: str | None = None
    tags: list[str] = []
    limit_id: int | None = None


def store(chunk: Sequence[Prepared]) -> Batch:
    """Write a chunk inside the caller's transaction. Raises InsufficientCredits for the chunk as a whole."""
    batch = Batch()
    items = _refuse_repeated_ids(chunk, batch)
    items = take_idempotency_keys(items, batch)
    items = chains.lock_predecessors(items, batch)
    items = locked = take_unique_locks(items, batch)
    for item in items:
        item.account_id = (
            credits.account_id(item.tenant_id, item.request.user_id) if item.credits else None
        )
    _refuse_unknown_accounts(items)
    whole = [*items, *_children(items)]
    limits.name(whole)
    rows = _insert(whole)
    for item in items:
        row = rows.get(item.id)
        if row is None:
            refuse(batch, item, TaskIdInUse(task_id=item.public_id))
        else:
            batch.accepted.append(row)
    batch.fresh = list(rows.values())
    release_refused(batch, locked)
    credits.charge([item for item in items if item.credits and item.id in rows])
    chains.link([item for item in items if item.id in rows])
    _add_platform_rows([item for item in items if item.platform is not None and item.id in rows])
    _count_shards([item for item in items if item.shards is not None and item.id in rows])
    answer_repeats(batch)
    return batch


def _refuse_repeated_ids(chunk: Sequence[Prepared], batch: Batch) -> list[Prepared]:
    """A caller's own task id given twice in one batch: the second is in use already."""
    seen: dict[UUID, Prepared] = {}
    for item in chunk:
        if seen.setdefault(item.id, item) is not item:
            refuse(batch, item, TaskIdInUse(task_id=item.public_id), owns_key=False)
    return list(seen.values())


def _refuse_unknown_accounts(items: Sequence[Prepared]) -> None:
    users = sorted(
        {
            i.request.user_id
            for i in items
            if i.credits and i.account_id is None and i.request.user_id is not None
        }
    )
    if users:
        raise InsufficientCredits(users=users, balance=0)


def _children(items: Sequence[Prepared]) -> list[Prepared]:
    """The shards of all parents as rows of their own; they are free, their parent was charged."""
    return [child for parent in items for child in parent.children]


def _insert(items: Sequence[Prepared]) -> dict[UUID, Stored]:
    if not items:
        return {}
    stamps = {name: tickets.stamp(name) for name in {item.queue.name for item in items}}
    rows = postgres.fetch(
        "task_insert",
        {"rows": msgspec.json.encode([_row(i, stamps[i.queue.name]) for i in items]).decode()},
    )
    found = {UUID(row[0]): row for row in rows}
    return {
        item.id: Stored(
            index=item.index,
            id=item.id,
            public_id=item.public_id,
            queue_id=found[item.id][1],
            lane=found[item.id][2],
            state=State(found[item.id][3]),
            ticket=found[item.id][4],
            front=item.request.front,
            run_at=found[item.id][5],
            created_at=found[item.id][6],
        )
        for item in items
        if item.id in found
    }


def _row(item: Prepared, ticket: int) -> "_Row":
    request = item.request
    return _Row(
        id=item.id,
        queue_id=item.queue.id,
        tenant_id=item.tenant_id,
        lane=int(item.lane),
        delay_s=max(request.process_in or 0.0, 0.0),
        at=request.process_at,
        deadline=request.deadline,
        timeout_ms=item.timeout_ms,
        retention_s=item.retention_s,
        flags=int(item.flags if item.in_line else item.flags & ~Flag.LIMITED),
        max_retries=item.max_retries,
        credits=item.credits,
        account_id=item.account_id,
        parent_id=item.parent_id,
        waits=item.waits,
        front=request.front,
        ticket=ticket,
        type=item.handler.name,
        user_id=request.user_id,
        business_id=request.business_id,
        trace_id=request.trace_id,
        custom_id=request.task_id,
        platform=request.platform,
        tags=request.tags,
        payload=msgspec.Raw(sealed.close(item.payload_json).encode()),
        options=msgspec.Raw(item.options_json.encode()),
        limit_id=item.limit_id,
    )


def _add_platform_rows(items: Sequence[Prepared]) -> None:
    """The time limit on the platform runs from the moment the task may start."""
    if items:
        postgres.query(
            "INSERT INTO platform_task (task_id, platform_id, expires_at, polls, unknowns, contact_errors, urls)"
            " SELECT n.id, n.platform_id, greatest(coalesce(t.run_at, clock_timestamp()), clock_timestamp())"
            "   + n.limit_s * interval '1 second', 0, 0, 0, '{}'"
            " FROM unnest(%s::uuid[], %s::bigint[], %s::int[]) AS n(id, platform_id, limit_s)"
            " JOIN task t ON t.id = n.id RETURNING 1",
            [
                [i.id for i in items],
                [i.platform.id for i in items if i.platform],
                [i.platform.time_limit_s for i in items if i.platform],
            ],
        )


def _count_shards(parents: Sequence[Prepared]) -> None:
    if parents:
        postgres.query(
            "INSERT INTO shard_count (task_id, total, done, failed)"
            " SELECT id, total, 0, 0 FROM unnest(%s::uuid[], %s::int[]) AS n(id, total) RETURNING 1",
            [[p.id for p in parents], [len(p.shards or ()) for p in parents]],
        )
