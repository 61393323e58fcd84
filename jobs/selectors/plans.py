"""Plans: what a filter matches, preview and progress, the report item by item."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import msgspec

from jobs.domain.errors import Invalid, Malformed, NotFound
from jobs.domain.plans import ItemState
from jobs.domain.states import State, state_from_wire
from jobs.models import Plan
from jobs.selectors.paging import Page, cursor, key_bytes, key_int
from jobs.selectors.plan_view import PlanItemView, PlanView, of_item, view
from jobs.selectors.task_filters import TaskFilter, Where
from jobs.selectors.tasks import total
from jobs.store import postgres

_CSV_CHUNK = 2_000


class PlanFilter(TaskFilter, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A task list's filter; `states` names several states at once, `ids` the tasks themselves."""

    states: list[str] = []
    ids: list[str] = []


Condition = Callable[[State], tuple[str, dict[str, Any]] | None]


def matching(wanted: PlanFilter, tenant_id: int) -> Condition:
    """What plan_freezing needs of a filter: the condition for each state. Raises Invalid for an empty filter."""
    states = _states(wanted)

    def condition(state: State) -> tuple[str, dict[str, Any]] | None:
        if states and state not in states:
            return None
        where = Where(_of_state(wanted, state), tenant_id, wanted.ids)
        return where.sql, where.params

    Where(
        _of_state(wanted, State.PENDING), tenant_id, wanted.ids
    )  # whatever is wrong with it, it is so now
    return condition


def ended(wanted: PlanFilter, tenant_id: int) -> dict[str, Any] | None:
    """How many ended tasks match, counted or estimated; None when the filter asks for others only."""
    states = _states(wanted)
    if states and State.COMPLETED not in states:
        return None
    tasks, exact = total(_of_state(wanted, State.COMPLETED), tenant_id, wanted.ids)
    return {"tasks": tasks, "estimated": not exact} if tasks else None


def filter_of(given: dict[str, Any]) -> PlanFilter:
    """A stored filter."""
    return msgspec.convert(given, PlanFilter, strict=False)


def stored(wanted: PlanFilter) -> dict[str, Any]:
    """A filter as it is kept, without what was not given."""
    found: dict[str, Any] = msgspec.to_builtins(wanted)
    return {name: value for name, value in found.items() if value not in (None, [], {})}


def get(plan_id: int, tenant_id: int = 1) -> PlanView:
    """Raises NotFound, also for another tenant's plan."""
    plan = Plan.objects.filter(pk=plan_id, tenant_id=tenant_id).first()
    if plan is None:
        raise NotFound("There is no such plan", plan=plan_id)
    return view(plan)


def listing(*, after: str | None = None, limit: int = 20, tenant_id: int = 1) -> Page[PlanView]:
    """Newest first."""
    last = key_int(after)
    rows = Plan.objects.filter(tenant_id=tenant_id).order_by("-pk")
    found = list((rows if last is None else rows.filter(pk__lt=last))[: limit + 1])
    more = len(found) > limit
    return Page(
        items=[view(plan) for plan in found[:limit]],
        next_cursor=cursor(found[limit - 1].pk) if more else None,
        estimated_total=rows.count(),
    )


def items(
    plan_id: int, *, state: str | None = None, after: str | None = None, limit: int = 50
) -> Page[PlanItemView]:
    """The report, by task id; `state` as in its items. Raises Invalid, Malformed."""
    last: UUID | None = None
    if after is not None:
        raw = key_bytes(after)
        if len(raw) != 16:
            raise Malformed("The cursor is not one of ours", field="cursor")
        last = UUID(bytes=raw)
    number = _item_state(state)
    rows = _rows(plan_id, number, last, limit + 1)
    more = len(rows) > limit
    return Page(
        items=[of_item(row) for row in rows[:limit]],
        next_cursor=cursor(rows[limit - 1][0].bytes) if more else None,
        estimated_total=_counted(plan_id, number),
    )


def every_item(plan_id: int) -> Iterator[PlanItemView]:
    """The whole report, read in chunks."""
    last: UUID | None = None
    while rows := _rows(plan_id, None, last, _CSV_CHUNK):
        yield from (of_item(row) for row in rows)
        last = rows[-1][0]


def _states(wanted: PlanFilter) -> set[State]:
    """The states that the filter names; none: every state."""
    if not stored(wanted).keys() - {"internal"}:
        raise Invalid(
            "An empty filter would match every task: name at least one field", field="filter"
        )
    names = [*wanted.states, *([wanted.state] if wanted.state is not None else [])]
    try:
        found = {state_from_wire(name) for name in names}
    except KeyError as error:
        raise Invalid(
            "There is no state '%(state)s'", state=error.args[0], field="filter.state"
        ) from None
    if wanted.state is not None and wanted.states:
        raise Invalid("Give `state` or `states`, not both", field="filter.states")
    return found


def _of_state(wanted: PlanFilter, state: State) -> PlanFilter:
    return msgspec.structs.replace(wanted, state=state.wire, states=[])


def _item_state(name: str | None) -> int | None:
    if name is None:
        return None
    found = next((int(state) for state in ItemState if state.wire == name), None)
    if found is None:
        raise Invalid(
            "Items are never '%(name)s'",
            name=name,
            known=[s.wire for s in ItemState],
            field="state",
        )
    return found


def _rows(plan_id: int, state: int | None, last: UUID | None, limit: int) -> list[postgres.Row]:
    return postgres.query(
        "SELECT p.task_id, p.was, p.queue_id, p.user_id, p.credits, p.state, p.reason, p.error, p.at, i.custom_id"
        " FROM plan_item p LEFT JOIN task_info i ON i.id = p.task_id WHERE p.plan_id = %(plan)s"
        " AND (%(state)s::int IS NULL OR p.state = %(state)s::int)"
        " AND (%(last)s::uuid IS NULL OR p.task_id > %(last)s::uuid) ORDER BY p.task_id LIMIT %(limit)s",
        {"plan": plan_id, "state": state, "last": last, "limit": limit},
    )


def _counted(plan_id: int, state: int | None) -> int:
    """From the plan's own figures."""
    plan = Plan.objects.get(pk=plan_id)
    listed = sum(plan.summary.get("skipped", {}).values())
    waiting = plan.tasks - plan.done - plan.skipped - plan.failed
    counts = (waiting, plan.done, plan.skipped + listed, plan.failed)
    return sum(counts) if state is None else counts[state]
