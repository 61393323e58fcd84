"""Tasks: one by id, and lists by filter."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from jobs.domain import ids
from jobs.domain.errors import Malformed, TaskNotFound
from jobs.domain.states import State
from jobs.selectors import queues, task_view
from jobs.selectors.paging import Page, at_least, cursor, key_bytes
from jobs.selectors.task_filters import TaskFilter, Where
from jobs.selectors.task_view import TaskView
from jobs.store import postgres

_CHEAP_COST = 20_000.0
_FROM = "FROM task t JOIN task_info i ON i.id = t.id WHERE "


def get(task_id: UUID, tenant_id: int = 1) -> TaskView:
    """Raises TaskNotFound, also for another tenant's task."""
    sql = postgres.statement("task_view") + "WHERE t.id = %s AND t.tenant_id = %s"
    rows = postgres.query(sql, [task_id, tenant_id])
    if not rows:
        raise TaskNotFound(task_id=ids.public_id(task_id))
    return task_view.of_row(rows[0], mask=False)


def tenant_of(task_id: UUID) -> int:
    """Whose task this is; for those who look after all tenants. Raises TaskNotFound."""
    rows = postgres.query("SELECT tenant_id FROM task WHERE id = %s", [task_id])
    if not rows:
        raise TaskNotFound(task_id=ids.public_id(task_id))
    return int(rows[0][0])


def place(task_id: UUID, tenant_id: int = 1) -> tuple[State, set[int]]:
    """A task's state and the queues that count as its own (present and origin). Raises TaskNotFound."""
    rows = postgres.query(
        "SELECT state, queue_id, origin_id FROM task WHERE id = %s AND tenant_id = %s",
        [task_id, tenant_id],
    )
    if not rows:
        raise TaskNotFound(task_id=ids.public_id(task_id))
    state, queue_id, origin_id = rows[0]
    return State(state), {queue_id, origin_id} - {None}


def unfinished(task_ids: Iterable[UUID]) -> set[UUID]:
    """Those of `task_ids` that have come to no end yet (a dead letter is an end here)."""
    rows = postgres.query(
        "SELECT id FROM task WHERE id = ANY(%s::uuid[]) AND state + 0 NOT IN (5, 6)",
        [list(task_ids)],
    )
    return {row[0] for row in rows}


def listing(
    wanted: TaskFilter, *, after: str | None = None, limit: int = 20, tenant_id: int = 1
) -> Page[TaskView]:
    """Newest first by id; secrets masked. `after` is the `next_cursor` of the page before."""
    page = Where(wanted, tenant_id)
    if after is not None:
        page.add("t.id < %(last)s", last=_last(after))
    sql = (
        f"WITH page AS MATERIALIZED (SELECT t.id {_FROM}{page.sql} ORDER BY t.id DESC LIMIT {limit + 1}) "
        f"{postgres.statement('task_view')} WHERE t.id = ANY(ARRAY(SELECT id FROM page)) ORDER BY t.id DESC"
    )
    rows = postgres.query(sql, page.params)
    more = len(rows) > limit
    items = [task_view.of_row(row, mask=True) for row in rows[:limit]]
    return Page(
        items=items,
        next_cursor=cursor(rows[limit - 1][0].bytes) if more else None,
        estimated_total=len(items)
        if after is None and not more
        else at_least(len(items), more, total(wanted, tenant_id)[0]),
    )


def _last(text: str) -> UUID:
    raw = key_bytes(text)
    if len(raw) != 16:
        raise Malformed("The cursor is not one of ours", field="cursor")
    return UUID(bytes=raw)


def total(wanted: TaskFilter, tenant_id: int = 1, names: Sequence[str] = ()) -> tuple[int, bool]:
    """How many tasks match and whether that is exact: by the counters or a cheap count, else the planner's estimate."""
    where = Where(wanted, tenant_id, names)
    if where.coarse:
        return queues.total(wanted.queue, wanted.state, tenant_id), True
    sql = f"SELECT 1 {_FROM}{where.sql}"
    plan: dict[str, Any] = postgres.query(f"EXPLAIN (FORMAT JSON) {sql}", where.params)[0][0][0][
        "Plan"
    ]
    if plan["Total Cost"] > _CHEAP_COST:
        return int(plan["Plan Rows"]), False
    return int(postgres.query(f"SELECT count(*) FROM ({sql}) x", where.params)[0][0]), True


def public_id(task_id: UUID) -> str:
    """The name that the caller gave the task, else its `task_…` id."""
    rows = postgres.query("SELECT custom_id FROM task_info WHERE id = %s", [task_id])
    return (rows[0][0] if rows else None) or ids.public_id(task_id)
