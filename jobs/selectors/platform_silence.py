"""Tasks about which their platform says nothing that we understand, with its own words beside ours."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from jobs.domain.errors import Malformed
from jobs.selectors import task_view
from jobs.selectors.masking import masked
from jobs.selectors.paging import Page, cursor, key_bytes
from jobs.selectors.task_view import TaskView
from jobs.store import postgres, sealed

UNKNOWN_S = 900.0
GIVEN_UP_S = 86_400.0
_ANSWER_BYTES = 20_000
_COUNTED = 10_000


class SilentView(msgspec.Struct, frozen=True, kw_only=True):
    """`task.status` is ours, `task.raw_status` and `answer` the platform's last words (masked).

    `ambiguous`: a submit left and nobody knows whether it arrived. `too_long`: its answer is on the task's page only.
    """

    id: UUID
    tenant_id: int
    task: TaskView
    since: datetime
    polls: int
    unknowns: int
    contact_errors: int
    polled_at: datetime | None
    expires_at: datetime
    ambiguous: bool
    answer: Any
    too_long: bool


def silent(
    *,
    for_s: float = UNKNOWN_S,
    platform_id: int | None = None,
    after: str | None = None,
    limit: int = 50,
) -> Page[SilentView]:
    """Those that wait, the longest silence first, of all tenants. `after`: the `next_cursor` of the page before."""
    since, last = _last(after)
    rows = postgres.fetch(
        "platform_silent",
        {
            "for_s": for_s,
            "platform": platform_id,
            "after": since,
            "after_id": last,
            "limit": limit + 1,
            "most": _ANSWER_BYTES,
        },
    )
    items = _views(rows[:limit])
    more = len(rows) > limit
    return Page(
        items=items,
        next_cursor=cursor(f"{items[-1].since.isoformat()}|{items[-1].id}") if more else None,
        estimated_total=sum(counts(for_s=for_s, platform_id=platform_id).values()),
    )


def given_up(*, platform_id: int | None = None, limit: int = 50) -> list[SilentView]:
    """Those that ended so within a day, the last first: failed here, perhaps alive over there."""
    rows = postgres.fetch(
        "platform_given_up",
        {
            "within_s": GIVEN_UP_S,
            "platform": platform_id,
            "limit": limit,
            "most": _ANSWER_BYTES,
        },
    )
    return _views(rows)


def counts(*, for_s: float = UNKNOWN_S, platform_id: int | None = None) -> dict[int, int]:
    """Platform id → how many wait in silence; counted up to 10,000 in all."""
    rows = postgres.query(
        "SELECT platform_id, count(*) FROM (SELECT platform_id FROM platform_task"
        " WHERE silent_since <= clock_timestamp() - %(for_s)s * interval '1 second' AND ended_at IS NULL"
        " AND (%(platform)s::bigint IS NULL OR platform_id = %(platform)s) LIMIT %(most)s) x GROUP BY 1",
        {"for_s": for_s, "platform": platform_id, "most": _COUNTED},
    )
    return {row[0]: row[1] for row in rows}


def _views(rows: list[postgres.Row]) -> list[SilentView]:
    sql = postgres.statement("task_view") + "WHERE t.id = ANY(%s::uuid[])"
    found = postgres.query(sql, [[row[0] for row in rows]]) if rows else []
    known = {str(row[0]): task_view.of_row(row, mask=True) for row in found}
    return [_view(row, known[row[0]]) for row in rows if row[0] in known]


def _view(row: postgres.Row, task: TaskView) -> SilentView:
    id_, since, polls, unknowns, contact_errors, polled_at, expires_at = row[:7]
    ambiguous, answer, answered, tenant_id = row[7:]
    return SilentView(
        id=UUID(id_),
        tenant_id=tenant_id,
        task=task,
        since=since,
        polls=polls,
        unknowns=unknowns,
        contact_errors=contact_errors,
        polled_at=polled_at,
        expires_at=expires_at,
        ambiguous=ambiguous,
        answer=None if answer is None else masked(msgspec.json.decode(sealed.shown(answer))),
        too_long=answered and answer is None,
    )


def _last(text: str | None) -> tuple[datetime | None, UUID | None]:
    """Raises Malformed."""
    if text is None:
        return None, None
    try:
        since, _, id_ = key_bytes(text).decode().partition("|")
        return datetime.fromisoformat(since), UUID(id_)
    except ValueError as error:
        raise Malformed("The cursor is not one of ours", field="cursor") from error
