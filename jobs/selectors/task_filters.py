"""The allow-listed filters of task lists, as SQL from fixed parts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from jobs.domain import ids
from jobs.domain.errors import Invalid
from jobs.domain.states import State, state_from_wire, status_from_wire
from jobs.handlers.registry import canonical, internal_names
from jobs.store import catalog, sealed

_LIKE = str.maketrans({"\\": r"\\", "%": r"\%", "_": r"\_"})
_MAX_PATH = 8
MOST_IDS = 1_000


class TaskFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`queue` matches the queue or the origin queue, `parent` its shards; `payload`: dotted paths, values as text.

    `internal`: only tasks that the engine itself submitted, or only those of others; None: both.
    """

    state: str | None = None
    status: str | None = None
    queue: str | None = None
    type: str | None = None
    platform: str | None = None
    parent: str | None = None
    user_id: int | None = None
    business_id: str | None = None
    trace_id: str | None = None
    tag: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    q: str | None = None
    internal: bool | None = None
    payload: dict[str, str] = {}


class Where:
    """Conditions and their parameters, in order. `coarse`: only tenant, state and queue: counters know the total.

    `names`: of these tasks only, by any of their ids; none: of all.
    """

    def __init__(self, wanted: TaskFilter, tenant_id: int, names: Sequence[str] = ()) -> None:
        self.parts = ["t.tenant_id = %(tenant)s"]
        self.params: dict[str, Any] = {"tenant": tenant_id}
        self._states(wanted, tenant_id)
        self.coarse = self._facts(wanted) == 0 and not names
        if names:
            self._among(names, tenant_id)

    @property
    def sql(self) -> str:
        return " AND ".join(self.parts)

    def add(self, sql: str, **params: Any) -> None:
        self.parts.append(sql)
        self.params.update(params)

    def _among(self, names: Sequence[str], tenant_id: int) -> None:
        if len(names) > MOST_IDS:
            raise Invalid("At most %(most)s tasks can be named", most=MOST_IDS, field="ids")
        found = [ids.parse_id(name, tenant_id) for name in names]
        self.add("t.id = ANY(%(ids)s::uuid[])", ids=found)

    def _states(self, wanted: TaskFilter, tenant_id: int) -> None:
        if wanted.state is not None:
            self.add(
                f"t.state = {_number(state_from_wire, wanted.state, 'state')}"
            )  # literal: partial indexes
        if wanted.queue is not None:
            state = state_from_wire(wanted.state) if wanted.state else None
            self.add(in_queue(state), queue=catalog.queues().own(tenant_id, wanted.queue).id)

    def _facts(self, wanted: TaskFilter) -> int:
        before = len(self.parts)
        if wanted.status is not None:
            self.add(f"t.status = {_number(status_from_wire, wanted.status, 'status')}")
        for column in ("type", "platform", "user_id", "business_id", "trace_id"):
            value = getattr(wanted, column)
            if column == "type" and value is not None:
                value = canonical(value)
            if column == "platform" and value is not None:
                value = catalog.full_name(self.params["tenant"], value)
            if value is not None:
                self.add(f"i.{column} = %({column})s", **{column: value})
        if wanted.internal is not None:
            among = "= ANY" if wanted.internal else "<> ALL"
            self.add(f"i.type {among}(%(internal)s::text[])", internal=internal_names())
        if wanted.parent is not None:
            parent = ids.parse_id(wanted.parent, self.params["tenant"])
            self.add("t.parent_id = %(parent)s", parent=parent)
        if wanted.tag is not None:
            self.add("i.tags @> ARRAY[%(tag)s]::text[] AND i.tags <> '{}'", tag=wanted.tag)
        if wanted.created_after is not None:
            self.add(
                "i.created_at >= %(after)s", after=_moment(wanted.created_after, "created_after")
            )
        if wanted.created_before is not None:
            self.add(
                "i.created_at < %(before)s", before=_moment(wanted.created_before, "created_before")
            )
        if wanted.q is not None:
            run = "SELECT 1 FROM task_run r WHERE r.task_id = t.id AND r.error ILIKE %(q)s"
            self.add(f"EXISTS ({run})", q=f"%{wanted.q.translate(_LIKE)}%")
        if wanted.payload and sealed.is_on():
            raise Invalid(
                "Payloads are encrypted here and cannot be searched; use tags or the business id",
                field="payload",
            )
        for nr, (path, value) in enumerate(wanted.payload.items()):
            keys = {f"path{nr}": _path(path), f"value{nr}": value}
            self.add(f"i.payload #>> %(path{nr})s::text[] = %(value{nr})s", **keys)
        return len(self.parts) - before


def in_queue(state: State | None) -> str:
    """Only a dead letter, or what became of one, has an origin queue; the others keep to their index."""
    if state in (State.ARCHIVED, State.COMPLETED, None):
        return "(t.queue_id = %(queue)s OR t.origin_id = %(queue)s)"
    return "t.queue_id = %(queue)s"


def _number(read: Any, name: str, field: str) -> int:
    try:
        return int(read(name))
    except KeyError:
        raise Invalid("There is no %(field)s '%(name)s'", name=name, field=field) from None


def _path(path: str) -> list[str]:
    steps = path.split(".")
    if len(steps) > _MAX_PATH or not all(steps):
        raise Invalid(
            "A payload path has 1 to %(most)s names",
            most=_MAX_PATH,
            field=f"payload.{path}",
        )
    return steps


def _moment(value: datetime, field: str) -> datetime:
    if value.tzinfo is None:
        raise Invalid("`%(field)s` needs a time zone", field=field)
    if not 1970 <= value.year <= 9000:
        raise Invalid("`%(field)s` is between the years 1970 and 9000", field=field)
    return value
