"""Idempotency keys and unique locks: taken in the order of their keys, before any task row."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import structlog

from jobs.domain import ids
from jobs.domain.errors import DuplicateTask, IdempotencyMismatch, TaskCenterError
from jobs.domain.states import State
from jobs.operations.requests import Prepared
from jobs.store import postgres

log = structlog.get_logger("asynq")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A row as it is now; `index` is the item's place in the batch. `run_at`, `created_at`: of a new row only."""

    index: int
    id: UUID
    public_id: str
    queue_id: int
    lane: int
    state: State
    ticket: int
    front: bool = False
    existing: bool = False
    run_at: datetime | None = None
    created_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """An item that was not accepted, and why. `key`: the idempotency key it had taken and gives back."""

    index: int
    error: TaskCenterError
    key: str | None = None


@dataclass(kw_only=True, slots=True)
class Batch:
    """`fresh` are all new rows, shards included; `accepted` one row per accepted item of the caller.

    `repeats`: items with the idempotency key of another item of the same batch.
    """

    accepted: list[Stored] = field(default_factory=list)
    fresh: list[Stored] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    repeats: list[tuple[Prepared, Prepared]] = field(default_factory=list)


def take_idempotency_keys(items: list[Prepared], batch: Batch) -> list[Prepared]:
    keyed = {_idem_key(i): i for i in reversed(items) if i.request.idempotency_key}
    if not keyed:
        return items
    ordered = sorted(keyed)
    taken = postgres.query(
        "INSERT INTO idempotency (key, body_hash, task_id) SELECT * FROM"
        " unnest(%s::text[], %s::text[], %s::uuid[]) ON CONFLICT (key) DO NOTHING RETURNING key",
        [ordered, [keyed[k].body_hash for k in ordered], [keyed[k].id for k in ordered]],
    )
    mine = {key for (key,) in taken}
    left: list[Prepared] = []
    for item in items:
        key = _idem_key(item) if item.request.idempotency_key else None
        if key is None or (key in mine and keyed[key] is item):
            left.append(item)
        elif key in mine:
            batch.repeats.append((item, keyed[key]))
        else:
            _answer_again(item, key, batch)
    return left


def answer_repeats(batch: Batch) -> None:
    """Repetitions of a key within one batch get what became of the item that they repeat; last of all."""
    errors = {refused.index: refused.error for refused in batch.refused}
    for item, first in batch.repeats:
        if first.body_hash != item.body_hash:
            error: TaskCenterError = IdempotencyMismatch(key=item.request.idempotency_key)
            refuse(batch, item, error, owns_key=False)
        elif first.index in errors:
            refuse(batch, item, errors[first.index], owns_key=False)
        else:
            _answer_again(item, _idem_key(item), batch)


def _answer_again(item: Prepared, key: str, batch: Batch) -> None:
    [(body_hash, task_id)] = postgres.query(
        "SELECT body_hash, task_id FROM idempotency WHERE key = %s", [key]
    )
    if body_hash != item.body_hash:
        refuse(
            batch,
            item,
            IdempotencyMismatch(key=item.request.idempotency_key),
            owns_key=False,
        )
        return
    rows = postgres.query("SELECT state, queue_id, lane FROM task WHERE id = %s", [task_id])
    state, queue_id, lane = rows[0] if rows else (State.PENDING, item.queue.id, 0)
    batch.accepted.append(
        Stored(
            index=item.index,
            id=task_id,
            public_id=item.request.task_id or ids.public_id(task_id),
            queue_id=queue_id,
            lane=lane,
            state=State(state),
            ticket=1,
            existing=True,
        )
    )


def take_unique_locks(items: list[Prepared], batch: Batch) -> list[Prepared]:
    locked = {i.lock_key: i for i in reversed(items) if i.lock_key}
    if not locked:
        return items
    ordered = sorted(k for k in locked if k)
    rows = postgres.query(
        "INSERT INTO unique_lock (key, task_id, until)"
        " SELECT n.key, n.task_id, greatest(coalesce(n.at, clock_timestamp() + n.delay_s * interval '1 second'),"
        "   clock_timestamp()) + n.window_s * interval '1 second'"
        " FROM unnest(%s::text[], %s::uuid[], %s::timestamptz[], %s::float8[], %s::float8[])"
        "   AS n(key, task_id, at, delay_s, window_s)"
        " ON CONFLICT (key) DO UPDATE SET task_id = excluded.task_id, until = excluded.until"
        " WHERE unique_lock.until <= clock_timestamp() RETURNING key",
        [
            ordered,
            [locked[k].id for k in ordered],
            [locked[k].request.process_at for k in ordered],
            [locked[k].request.process_in or 0.0 for k in ordered],
            [locked[k].lock_for_s for k in ordered],
        ],
    )
    mine = {key for (key,) in rows}
    left = [
        i for i in items if i.lock_key is None or (i.lock_key in mine and locked[i.lock_key] is i)
    ]
    for item in items:
        if item not in left:
            _refuse_duplicate(item, batch)
    return left


def take_again(task_id: UUID) -> None:
    """A redriven unique task needs its lock again. Raises DuplicateTask when another task has it."""
    rows = postgres.query(
        "INSERT INTO unique_lock (key, task_id, until)"
        " SELECT i.options -> 'lock' ->> 0, i.id,"
        "  clock_timestamp() + (i.options -> 'lock' ->> 1)::float8 * interval '1 second'"
        " FROM task_info i WHERE i.id = %s AND i.options -> 'lock' IS NOT NULL"
        " ON CONFLICT (key) DO UPDATE SET task_id = excluded.task_id, until = excluded.until"
        " WHERE unique_lock.until <= clock_timestamp() OR unique_lock.task_id = excluded.task_id RETURNING key",
        [task_id],
    )
    if not rows:
        raise DuplicateTask(
            "Another task has taken this task's unique key; it cannot run again now"
        )


def _refuse_duplicate(item: Prepared, batch: Batch) -> None:
    rows = postgres.query("SELECT task_id FROM unique_lock WHERE key = %s", [item.lock_key])
    first = ids.public_id(rows[0][0]) if rows else None
    log.info("ErrDuplicateTask", type=item.handler.name, queue=item.queue.name, first=first)
    refuse(batch, item, DuplicateTask(task_id=first))


def release_refused(batch: Batch, items: Sequence[Prepared]) -> None:
    """A refused item leaves neither its idempotency key nor its lock behind; `items` are those that took theirs."""
    refused = {r.index for r in batch.refused}
    locks = [item.lock_key for item in items if item.lock_key and item.index in refused]
    keys = [r.key for r in batch.refused if r.key]
    if locks:
        postgres.query("DELETE FROM unique_lock WHERE key = ANY(%s) RETURNING 1", [locks])
    if keys:
        postgres.query("DELETE FROM idempotency WHERE key = ANY(%s) RETURNING 1", [keys])


def _idem_key(item: Prepared) -> str:
    """Our own keys (schedules, billing) stand apart from those that callers choose."""
    return f"{item.tenant_id}{'!' if item.internal else ':'}{item.request.idempotency_key}"


def refuse(batch: Batch, item: Prepared, error: TaskCenterError, *, owns_key: bool = True) -> None:
    """Refuse an item; `owns_key`: it had taken its idempotency key, which it gives back."""
    key = _idem_key(item) if owns_key and item.request.idempotency_key else None
    batch.refused.append(Refused(index=item.index, error=error, key=key))
