"""Plans: what a bulk action does to which tasks, derived from the one table of transitions."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from jobs.domain.states import State, Status
from jobs.domain.transitions import BY_EVENT, Credits, Event, legal, legal_pairs


class PlanAction(StrEnum):
    RETRY = "retry"
    CANCEL = "cancel"
    ARCHIVE = "archive"
    DELETE = "delete"
    REDRIVE = "redrive"


class PlanState(StrEnum):
    """`freezing` is there only while a large set is still being collected."""

    FREEZING = "freezing"
    PREVIEW = "preview"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    ABORTED = "aborted"


class ItemState(IntEnum):
    """`SKIPPED` was not to be done (any more), `FAILED` could not be done."""

    WAITING = 0
    DONE = 1
    SKIPPED = 2
    FAILED = 3

    @property
    def wire(self) -> str:
        return self.name.lower()


EVENTS: dict[PlanAction, tuple[Event, ...]] = {
    PlanAction.RETRY: (Event.RUN, Event.REDRIVE),
    PlanAction.CANCEL: (Event.CANCEL,),
    PlanAction.ARCHIVE: (Event.ARCHIVE,),
    PlanAction.DELETE: (Event.DELETE,),
    PlanAction.REDRIVE: (Event.REDRIVE,),
}
WATCHED = frozenset({PlanAction.RETRY, PlanAction.REDRIVE})


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What happens to a task in this state: `skip` says why nothing does; `sign` +1 refunds, -1 charges again."""

    state: State
    status: Status
    skip: str
    sign: int


def rules(action: PlanAction) -> list[Rule]:
    """One rule for each (state, status) that a task may have."""
    return [_rule(action, state, status) for state, status in legal_pairs()]


def looked_at(action: PlanAction) -> list[State]:
    """The states whose tasks a plan freezes; ended tasks that it would only skip are counted, not listed."""
    possible = {rule.state for rule in rules(action) if not rule.skip}
    return [state for state in State if state is not State.COMPLETED or state in possible]


def still(was: State, now: State, action: PlanAction) -> bool:
    """Whether a task is still what the preview showed: waiting, a dead letter, or ended."""
    return action is PlanAction.CANCEL or _kind(was) == _kind(now)


def must_type(tasks: int, moved: int, *, most_tasks: int, most_credits: int) -> bool:
    """Whether a plan is so large that its number of tasks must be typed; `moved`: credits."""
    return tasks > most_tasks or moved > most_credits


def _rule(action: PlanAction, state: State, status: Status) -> Rule:
    event = next((e for e in EVENTS[action] if legal(e, state, status)), None)
    if event is None:
        skip = "dead_letter" if _failed(state, status) else state.wire
        return Rule(state=state, status=status, skip=skip, sign=0)
    return Rule(state=state, status=status, skip="", sign=_sign(event, state, status))


def _sign(event: Event, state: State, status: Status) -> int:
    match BY_EVENT[event].credits:
        case Credits.REFUND:
            return int(legal(Event.CANCEL, state, status))
        case Credits.RECHARGE:
            return -int(_failed(state, status))
    return 0


def _failed(state: State, status: Status) -> bool:
    return state is State.ARCHIVED and status is Status.FAILURE


def _kind(state: State) -> str:
    return state.wire if state in (State.ARCHIVED, State.COMPLETED) else "unfinished"
