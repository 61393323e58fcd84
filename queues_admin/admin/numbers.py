"""Queues as the pages show them: the selector's numbers beside the contract's marks."""

from dataclasses import dataclass

from jobs.contract.reader import contract
from jobs.domain.states import State
from jobs.models import Control
from jobs.selectors import queues
from jobs.selectors.queues import QueueView

SHOWN = (State.PENDING, State.ACTIVE, State.SCHEDULED, State.RETRY, State.ARCHIVED, State.COMPLETED)


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueLine:
    """`level`: normal, warning or critical, by what the contract counts for this queue."""

    view: QueueView
    level: str
    states: list[tuple[State, int]]
    percent: int | None


def queue_lines() -> list[QueueLine]:
    """All queues in the contract's order, after them those of tenants that hold something."""
    place = {name: index for index, name in enumerate(contract().queues)}
    listed = sorted(queues.listing(busy=True), key=lambda view: place.get(view.queue, len(place)))
    return [
        QueueLine(
            view=view,
            level=_level(view),
            states=[(state, getattr(view, state.wire)) for state in _shown(view)],
            percent=round(100 * view.utilization) if view.capacity else None,
        )
        for view in listed
    ]


def state_counts(queue: str | None, tenant_id: int) -> list[tuple[State, int]]:
    """The tabs of a task list: (state, tasks) over one queue of a tenant or all of them."""
    shown = [view for view in queues.listing(tenant_id) if queue in (None, view.queue)]
    totals = {state: sum(getattr(view, state.wire) for view in shown) for state in State}
    totals[State.ARCHIVED] = queues.total(queue, State.ARCHIVED.wire, tenant_id)
    states = [*SHOWN, State.AGGREGATING] if totals[State.AGGREGATING] else SHOWN
    return [(state, totals[state]) for state in states]


def control() -> Control:
    """The emergency stop's row."""
    return Control.objects.get(pk=1)


def _shown(view: QueueView) -> tuple[State, ...]:
    return (*SHOWN, State.AGGREGATING) if view.aggregating else SHOWN


def _level(view: QueueView) -> str:
    spec = contract().queues.get(view.queue.rpartition(":")[2])
    if spec is None:
        return "normal"
    n = view.archived if spec.counts == "archived" else view.pending
    marks = ((spec.critical, "critical"), (spec.warning, "warning"))
    return next((word for mark, word in marks if n > mark), "normal")
