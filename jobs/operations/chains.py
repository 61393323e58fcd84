"""Chains: a task that starts when others have succeeded, and ends with them when one of them does not."""

from collections.abc import Sequence
from uuid import UUID

from jobs.domain import ids
from jobs.domain.errors import Conflict, Invalid
from jobs.domain.states import State, Status
from jobs.models.tasks import Flag
from jobs.operations import limits, tickets
from jobs.operations.locks import Batch, refuse
from jobs.operations.requests import Prepared
from jobs.store import postgres


def lock_predecessors(items: Sequence[Prepared], batch: Batch) -> list[Prepared]:
    """Lock what the items wait for; sets `waits` and `predecessors`, refuses items whose predecessor cannot succeed."""
    chained = [item for item in items if item.request.after]
    if not chained:
        return list(items)
    wanted = {
        id(item): {ids.parse_id(name, item.tenant_id): name for name in item.request.after}
        for item in chained
    }
    rows = postgres.query(
        "SELECT id, state, status, tenant_id FROM task WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
        [sorted(set().union(*wanted.values()))],
    )
    known = {(row[0], row[3]): (State(row[1]), Status(row[2])) for row in rows}
    return [
        item
        for item in items
        if id(item) not in wanted or _accept(item, wanted[id(item)], known, batch)
    ]


def link(items: Sequence[Prepared]) -> None:
    """Store who waits for whom, after the rows are inserted."""
    waiting = [item for item in items if item.predecessors]
    if not waiting:
        return
    pairs = [(item.id, predecessor) for item in waiting for predecessor in item.predecessors]
    postgres.query(
        "WITH w AS (INSERT INTO task_wait (task_id, remaining) SELECT * FROM unnest(%s::uuid[], %s::int[])),"
        " a AS (INSERT INTO task_after (task_id, predecessor_id) SELECT * FROM unnest(%s::uuid[], %s::uuid[]))"
        " UPDATE task SET flags = flags | %s WHERE id = ANY(%s) AND state <> 6 RETURNING 1",
        [
            [item.id for item in waiting],
            [len(item.predecessors) for item in waiting],
            [task for task, _ in pairs],
            [predecessor for _, predecessor in pairs],
            int(Flag.AWAITED),
            sorted({predecessor for _, predecessor in pairs}),
        ],
    )


def succeeded(predecessors: Sequence[str], *, limit: int) -> None:
    """Count ended predecessors off, at most `limit` links; whoever waits for none any more becomes pending."""
    if predecessors:
        rows = postgres.fetch("chain_count", {"ids": list(predecessors), "limit": limit})
        release([task for task, remaining in rows if remaining <= 0])


def successors(predecessors: Sequence[str], *, limit: int) -> list[str]:
    """Who waited for these tasks, which will never succeed; at most `limit` of their links are removed."""
    if not predecessors:
        return []
    rows = postgres.query(
        "DELETE FROM task_after WHERE id IN (SELECT id FROM task_after WHERE predecessor_id = ANY(%s::uuid[])"
        " ORDER BY id LIMIT %s FOR UPDATE) RETURNING task_id::text",
        [list(predecessors), limit],
    )
    return sorted({row[0] for row in rows})


def release(waiting: Sequence[str]) -> None:
    """Waiting tasks become pending, or stand in the line of their limit; their tickets go out at the commit."""
    if not waiting:
        return
    stamp = tickets.stamp("")
    rows = postgres.fetch("task_release", {"ids": list(waiting), "ticket": stamp})
    if stamp:
        ready = [(r[0], r[1], r[2]) for r in rows if r[3] == State.PENDING]
        tickets.push_after_commit(tickets.tickets_of(ready))
    limits.admit_soon(r[4] for r in rows)


def _accept(
    item: Prepared,
    wanted: dict[UUID, str],
    known: dict[tuple[UUID, int], tuple[State, Status]],
    batch: Batch,
) -> bool:
    """`wanted`: the ids and how the caller named them."""
    missing = [i for i in wanted if (i, item.tenant_id) not in known]
    if missing:
        refuse(
            batch,
            item,
            Invalid("There is no such task to wait for", after=[wanted[i] for i in missing]),
        )
        return False
    found = {i: known[i, item.tenant_id] for i in wanted}
    failed = [
        i
        for i, (state, status) in found.items()
        if state is State.COMPLETED and status is not Status.SUCCESS
    ]
    if failed:
        refuse(
            batch,
            item,
            Conflict("A task to wait for has failed", after=[wanted[i] for i in failed]),
        )
        return False
    item.predecessors = sorted(i for i, (state, _) in found.items() if state is not State.COMPLETED)
    item.waits = item.waits or bool(item.predecessors)
    return True
