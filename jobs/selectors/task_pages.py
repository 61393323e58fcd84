"""The guide's task list: one queue, one state, numbered pages."""

from datetime import datetime
from typing import Any

import msgspec

from jobs.domain.errors import Invalid
from jobs.domain.states import State, state_from_wire
from jobs.selectors import queues, task_view
from jobs.selectors.task_filters import in_queue
from jobs.store import catalog, postgres

MOST_SKIPPED = 100_000

_ORDER = {
    State.PENDING: "ord",
    State.ACTIVE: "started_at",
    State.SCHEDULED: "run_at",
    State.RETRY: "run_at",
}


class TaskItem(msgspec.Struct, frozen=True, kw_only=True):
    """The guide's detail fields and `task_id`; `id` is the job id."""

    id: str
    task_id: str
    type: str
    queue: str
    state: str
    retried: int
    max_retry: int
    next_process_at: datetime | None
    payload: Any
    last_error: str | None


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[TaskItem]
    total: int
    page: int
    size: int


def page(
    queue: str, state: str, *, number: int = 1, size: int = 20, tenant_id: int = 1
) -> TaskPage:
    """In the order in which they come: by turn, by due time, else newest first.

    A queue's archived tasks include its dead letters. Raises UnknownQueue, Invalid (state, page too deep).
    """
    try:
        wanted = state_from_wire(state)
    except KeyError:
        raise Invalid(
            "There is no state '%(state)s'", state=state, known=[s.wire for s in State]
        ) from None
    skipped = (number - 1) * size
    if skipped > MOST_SKIPPED:
        raise Invalid("This page is too deep; use GET /tasks with its cursor", field="page")
    queue_id = catalog.queues().own(tenant_id, queue).id
    rows = postgres.query(
        _sql(wanted), {"tenant": tenant_id, "queue": queue_id, "size": size, "skipped": skipped}
    )
    return TaskPage(
        items=[_item(row) for row in rows],
        total=queues.total(queue, state, tenant_id),
        page=number,
        size=size,
    )


def _sql(state: State) -> str:
    order = _ORDER.get(state, "id DESC")
    return (
        f"WITH page AS MATERIALIZED (SELECT t.id FROM task t WHERE t.tenant_id = %(tenant)s AND {in_queue(state)}"
        f" AND t.state = {int(state)} ORDER BY t.{order} LIMIT %(size)s OFFSET %(skipped)s) "
        f"{postgres.statement('task_view')} WHERE t.id = ANY(ARRAY(SELECT id FROM page)) ORDER BY t.{order}"
    )


def _item(row: postgres.Row) -> TaskItem:
    view = task_view.of_row(row, mask=True)
    return TaskItem(
        id=view.job_id,
        task_id=view.task_id,
        type=view.type,
        queue=view.queue,
        state=view.state,
        retried=view.retried,
        max_retry=view.max_retries,
        next_process_at=view.next_process_at,
        payload=view.payload,
        last_error=view.last_error,
    )
