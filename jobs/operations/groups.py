"""Groups: members wait as `aggregating` until grace, delay or size is reached, then become one task's payload."""

from dataclasses import dataclass
from uuid import UUID

import msgspec
import structlog
from django.conf import settings
from django.db import transaction

from jobs.domain import ids
from jobs.domain.errors import TaskCenterError
from jobs.domain.outcomes import Kind
from jobs.domain.states import State, Status
from jobs.handlers import registry
from jobs.handlers.registry import Aggregate, handler
from jobs.models.tasks import Flag
from jobs.operations import endings
from jobs.operations.endings import Finish
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit_request
from jobs.store import catalog, postgres, sealed

log = structlog.get_logger("groups")

_GROUPS_A_PASS = 1000
_TASKS_A_GROUP = 100
_FIRST = UUID(int=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Due:
    """`size` is counted up to one more than the largest `max_size` of all types."""

    group_id: UUID
    first_id: UUID
    size: int
    oldest_s: float
    newest_s: float


_looked_to = _FIRST


def collect() -> int:
    """A pass over so many waiting groups, the next one goes on after them; returns how many tasks were made."""
    global _looked_to
    most = 1 + max((rules.max_size for rules in registry.aggregates()), default=0)
    params = {"after": _looked_to, "limit": _GROUPS_A_PASS, "most": most}
    rows = postgres.fetch("group_waiting", params)
    _looked_to = rows[-1][0] if len(rows) == _GROUPS_A_PASS else _FIRST
    made = 0
    for row in rows:
        due = _Due(group_id=row[0], first_id=row[1], size=row[2], oldest_s=row[3], newest_s=row[4])
        try:
            made += _collect_all(due)
        except TaskCenterError as error:
            _give_up(due, error)
    return made


def _collect_all(due: _Due) -> int:
    made = 0
    while made < _TASKS_A_GROUP and _collect_one(due):
        made += 1
        if due.size <= _rules(due.first_id)[1].max_size:
            break
    return made


def _give_up(due: _Due, error: TaskCenterError) -> None:
    """No task can be made of this group: its members fail and are refunded, the other groups go on."""
    log.error("group cannot be collected", group_id=str(due.group_id), error=str(error))
    with transaction.atomic():
        members = postgres.fetch("group_members", {"group": due.group_id, "limit": 500})
        endings.finish(
            [str(m[0]) for m in members],
            Finish(
                state=State.COMPLETED,
                status=Status.FAILURE,
                sources=(State.AGGREGATING,),
                kind=Kind.FAILED,
                reason="the group cannot be collected",
                error=f"the group cannot be collected: {error}",
            ),
        )


def _collect_one(due: _Due) -> bool:
    type_, rules = _rules(due.first_id)
    ready = (
        due.size >= rules.max_size
        or due.newest_s >= rules.grace_s
        or due.oldest_s >= rules.max_delay_s
    )
    if not ready:
        return False
    with transaction.atomic():
        if not postgres.query(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 7))", [str(due.group_id)]
        )[0][0]:
            return False
        members = postgres.fetch("group_members", {"group": due.group_id, "limit": rules.max_size})
        members = _within_limit([(m[0], sealed.opened(m[1]), *m[2:]) for m in members])
        full = len(members) >= rules.max_size
        if not members or (
            due.size >= rules.max_size and not full and due.newest_s < rules.grace_s
        ):
            return False
        _make(type_, rules, members)
    return True


def _make(type_: str, rules: Aggregate, members: list[postgres.Row]) -> None:
    """One task from its members, which wait for it from now on."""
    first = members[0]
    group = msgspec.json.decode(first[3]).get("group", "")
    made = submit_request(
        TaskRequest(
            type=rules.into,
            payload={"group": group, "members": [msgspec.json.decode(m[1]) for m in members]},
            queue=catalog.queues().name(first[2]),
            headers=sealed.headers(first[3]),
        ),
        tenant_id=first[4],
        limited=False,
    )
    postgres.query(
        "WITH m AS (UPDATE task SET parent_id = %s, flags = flags & ~%s WHERE id = ANY(%s) RETURNING id)"
        " UPDATE task SET flags = flags | %s WHERE id = %s RETURNING 1",
        [made.id, int(Flag.GROUPED), [m[0] for m in members], int(Flag.COLLECTED), made.id],
    )
    log.info(
        "group collected",
        type=type_,
        group=group,
        members=len(members),
        task_id=ids.public_id(made.id),
    )


def _within_limit(members: list[postgres.Row]) -> list[postgres.Row]:
    """As many members as one payload may hold; at least one."""
    left = int(settings.TASKCENTER["MAX_PAYLOAD_BYTES"]) - 1024
    kept: list[postgres.Row] = []
    for member in members:
        left -= len(member[1].encode()) + 1
        if left < 0 and kept:
            break
        kept.append(member)
    return kept


def _rules(member_id: UUID) -> tuple[str, Aggregate]:
    [(type_,)] = postgres.query("SELECT type FROM task_info WHERE id = %s", [member_id])
    rules = handler(type_).aggregate
    if rules is None:
        raise TaskCenterError("%(type)s does not declare an aggregate any more", type=type_)
    return type_, rules
