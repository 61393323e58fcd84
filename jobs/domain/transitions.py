"""The one table of what may happen to a task.

Read a row as: on `event`, a task in one of `sources` moves to `target`, its status becomes `status`
(None: unchanged) and its credits are touched as `credits` says. CHECK constraints, buttons, 409
answers and the diagram in the docs are derived from it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from jobs.domain.errors import IllegalTransition
from jobs.domain.states import ENDED_STATUSES, OPEN_STATUSES, State, Status


class Event(StrEnum):
    SUBMIT = "submit"
    SUBMIT_LATER = "submit_later"
    SUBMIT_WAITING = "submit_waiting"
    DUE = "due"
    RELEASE = "release"
    LINE_UP = "line_up"
    ADMIT = "admit"
    CLAIM_FUNCTION = "claim_function"
    CLAIM_POLL = "claim_poll"
    POLL = "poll"
    RETRY = "retry"
    POSTPONE = "postpone"
    HAND_BACK = "hand_back"
    RESCUE = "rescue"
    SUCCEED = "succeed"
    FAIL = "fail"
    DEAD = "dead"
    CANCEL = "cancel"
    ARCHIVE = "archive"
    RUN = "run"
    REDRIVE = "redrive"
    REDRIVE_WAITING = "redrive_waiting"
    DELETE = "delete"


class Credits(StrEnum):
    KEEP = "keep"
    CHARGE = "charge"
    REFUND = "refund"
    RECHARGE = "recharge"


@dataclass(frozen=True, kw_only=True)
class Transition:
    event: Event
    sources: frozenset[State]
    target: State | None
    status: Status | None
    credits: Credits
    operator: bool
    label: str


def _row(
    event: Event,
    sources: tuple[State, ...],
    target: State | None,
    *,
    status: Status | None = None,
    credits: Credits = Credits.KEEP,
    operator: bool = False,
    label: str,
) -> Transition:
    return Transition(
        event=event,
        sources=frozenset(sources),
        target=target,
        status=status,
        credits=credits,
        operator=operator,
        label=label,
    )


_S = State
_QUEUED = (_S.PENDING, _S.SCHEDULED, _S.RETRY)
_HELD = (_S.PENDING, _S.SCHEDULED, _S.RETRY, _S.AGGREGATING)
_HELD_OR_ARCHIVED = (*_HELD, _S.ARCHIVED)

TABLE: tuple[Transition, ...] = (
    _row(
        Event.SUBMIT,
        (),
        _S.PENDING,
        status=Status.NOT_START,
        credits=Credits.CHARGE,
        label="submit",
    ),
    _row(
        Event.SUBMIT_LATER,
        (),
        _S.SCHEDULED,
        status=Status.NOT_START,
        credits=Credits.CHARGE,
        label="submit for later",
    ),
    _row(
        Event.SUBMIT_WAITING,
        (),
        _S.AGGREGATING,
        status=Status.NOT_START,
        credits=Credits.CHARGE,
        label="submit into a group or chain, as a parent or under a limit",
    ),
    _row(Event.DUE, (_S.SCHEDULED, _S.RETRY), _S.PENDING, label="its time has come"),
    _row(Event.RELEASE, (_S.AGGREGATING,), _S.PENDING, label="what it waited for is done"),
    _row(
        Event.LINE_UP,
        (_S.SCHEDULED, _S.RETRY),
        _S.AGGREGATING,
        label="due or run: it joins its group, or the line of its limit",
    ),
    _row(Event.ADMIT, (_S.AGGREGATING,), _S.PENDING, label="its limit has a place for it"),
    _row(
        Event.CLAIM_FUNCTION,
        (_S.PENDING,),
        _S.ACTIVE,
        status=Status.IN_PROGRESS,
        label="claim of a function task",
    ),
    _row(
        Event.CLAIM_POLL,
        (_S.PENDING, _S.SCHEDULED, _S.RETRY),
        _S.ACTIVE,
        label="claim of a poll, or of what one heard",
    ),
    _row(
        Event.POLL,
        (_S.ACTIVE,),
        _S.SCHEDULED,
        label="poll answered, not ended (status as reported)",
    ),
    _row(Event.RETRY, (_S.ACTIVE,), _S.RETRY, label="error or timeout, retries left"),
    _row(Event.POSTPONE, (_S.ACTIVE,), _S.SCHEDULED, label="not now: breaker open, rate limit"),
    _row(Event.HAND_BACK, (_S.ACTIVE,), _S.PENDING, label="handed back by a stopping worker"),
    _row(Event.RESCUE, (_S.ACTIVE,), _S.PENDING, label="its worker died"),
    _row(
        Event.SUCCEED,
        (_S.ACTIVE, *_HELD),
        _S.COMPLETED,
        status=Status.SUCCESS,
        label="success",
    ),
    _row(
        Event.FAIL,
        (_S.ACTIVE, *_HELD, _S.ARCHIVED),
        _S.COMPLETED,
        status=Status.FAILURE,
        credits=Credits.REFUND,
        label="platform says failed, time limit",
    ),
    _row(
        Event.DEAD,
        (_S.ACTIVE, *_QUEUED, _S.ARCHIVED),
        _S.ARCHIVED,
        status=Status.FAILURE,
        credits=Credits.REFUND,
        label="retries used up, SkipRetry, poison, deadline",
    ),
    _row(
        Event.CANCEL,
        (_S.ACTIVE, *_HELD_OR_ARCHIVED),
        _S.COMPLETED,
        status=Status.CANCELLED,
        credits=Credits.REFUND,
        operator=True,
        label="cancel",
    ),
    _row(Event.ARCHIVE, _QUEUED, _S.ARCHIVED, operator=True, label="archived by hand"),
    _row(
        Event.RUN, (_S.PENDING, _S.SCHEDULED, _S.RETRY), _S.PENDING, operator=True, label="run now"
    ),
    _row(
        Event.REDRIVE,
        (_S.ARCHIVED,),
        _S.PENDING,
        status=Status.NOT_START,
        credits=Credits.RECHARGE,
        operator=True,
        label="redrive",
    ),
    _row(
        Event.REDRIVE_WAITING,
        (_S.ARCHIVED,),
        _S.AGGREGATING,
        status=Status.NOT_START,
        credits=Credits.RECHARGE,
        label="redrive of a task under a limit",
    ),
    _row(
        Event.DELETE,
        (*_HELD_OR_ARCHIVED, _S.COMPLETED),
        None,
        credits=Credits.REFUND,
        operator=True,
        label="delete (unfinished and charged: refunded first)",
    ),
)

BY_EVENT: dict[Event, Transition] = {row.event: row for row in TABLE}

_ENDING = frozenset({Event.CANCEL, Event.FAIL, Event.DEAD})

OPERATOR_ACTIONS: tuple[Event, ...] = tuple(row.event for row in TABLE if row.operator)


def legal(event: Event, state: State, status: Status | None = None) -> bool:
    """Whether `event` may happen to a task in `state`; a dead letter (archived, FAILURE) has failed already."""
    if event in _ENDING and state is State.ARCHIVED and status is Status.FAILURE:
        return False
    return state in BY_EVENT[event].sources


def check(event: Event, state: State, status: Status | None = None) -> Transition:
    """The transition for `event` from `state`; raises IllegalTransition (409) otherwise."""
    if not legal(event, state, status):
        raise IllegalTransition(action=event.value, state=state.wire)
    return BY_EVENT[event]


def actions(state: State, status: Status | None = None) -> tuple[Event, ...]:
    """What an operator may do to a task in `state`, in the order of the table."""
    return tuple(event for event in OPERATOR_ACTIONS if legal(event, state, status))


def legal_pairs() -> Iterator[tuple[State, Status]]:
    """Every (state, status) that a stored task may have; the database's CHECK comes from here."""
    for state in State:
        for status in Status:
            if _may_rest(state, status):
                yield state, status


def _may_rest(state: State, status: Status) -> bool:
    if state is State.COMPLETED:
        return status in ENDED_STATUSES
    if state is State.ARCHIVED:
        return status in OPEN_STATUSES or status is Status.FAILURE
    return status in OPEN_STATUSES
