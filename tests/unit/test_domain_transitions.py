"""The table of what may happen, against the requirements and against itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.domain.errors import IllegalTransition
from jobs.domain.states import OPEN_STATUSES, State, Status
from jobs.domain.transitions import (
    BY_EVENT,
    TABLE,
    Credits,
    Event,
    actions,
    check,
    legal,
    legal_pairs,
)

CORE = [
    # Q-05 of the requirements: event, target, status (None: unchanged), credits
    (Event.SUBMIT, State.PENDING, Status.NOT_START, Credits.CHARGE),
    (Event.SUBMIT_LATER, State.SCHEDULED, Status.NOT_START, Credits.CHARGE),
    (Event.SUBMIT_WAITING, State.AGGREGATING, Status.NOT_START, Credits.CHARGE),
    (Event.CLAIM_FUNCTION, State.ACTIVE, Status.IN_PROGRESS, Credits.KEEP),
    (Event.CLAIM_POLL, State.ACTIVE, None, Credits.KEEP),
    (Event.POLL, State.SCHEDULED, None, Credits.KEEP),
    (Event.RETRY, State.RETRY, None, Credits.KEEP),
    (Event.SUCCEED, State.COMPLETED, Status.SUCCESS, Credits.KEEP),
    (Event.FAIL, State.COMPLETED, Status.FAILURE, Credits.REFUND),
    (Event.DEAD, State.ARCHIVED, Status.FAILURE, Credits.REFUND),
    (Event.CANCEL, State.COMPLETED, Status.CANCELLED, Credits.REFUND),
    (Event.ARCHIVE, State.ARCHIVED, None, Credits.KEEP),
    (Event.REDRIVE, State.PENDING, Status.NOT_START, Credits.RECHARGE),
]


@pytest.mark.req("Q-05")
@pytest.mark.parametrize(("event", "target", "status", "credits"), CORE)
def test_the_table_says_what_the_requirements_say(
    event: Event, target: State, status: Status | None, credits: Credits
) -> None:
    row = BY_EVENT[event]
    assert (row.target, row.status, row.credits) == (target, status, credits)


@pytest.mark.req("Q-05")
@pytest.mark.parametrize("event", list(Event))
@pytest.mark.parametrize("state", list(State))
def test_check_allows_exactly_what_the_table_allows(event: Event, state: State) -> None:
    [row] = [row for row in TABLE if row.event is event]
    allowed = state in row.sources
    assert legal(event, state) is allowed
    if allowed:
        assert check(event, state) is row
        return
    with pytest.raises(IllegalTransition) as caught:
        check(event, state)
    assert caught.value.details == {"action": event.value, "state": state.wire}


@pytest.mark.req("Q-03")
@pytest.mark.parametrize(
    ("state", "of_the_guide"),
    [
        (State.PENDING, {Event.RUN, Event.DELETE, Event.ARCHIVE}),
        (State.ACTIVE, {Event.CANCEL}),
        (State.SCHEDULED, {Event.RUN, Event.DELETE, Event.ARCHIVE}),
        (State.RETRY, {Event.RUN, Event.ARCHIVE, Event.DELETE}),
        (State.ARCHIVED, {Event.REDRIVE, Event.DELETE}),
        (State.COMPLETED, {Event.DELETE}),
    ],
)
def test_every_state_allows_the_guides_operations_and_cancel_besides(
    state: State, of_the_guide: set[Event]
) -> None:
    assert set(actions(state)) - {Event.CANCEL} == of_the_guide - {Event.CANCEL}
    assert legal(Event.CANCEL, state) is (state is not State.COMPLETED)


@pytest.mark.req("Q-05")
def test_nothing_but_deletion_leaves_an_end() -> None:
    assert [event for event in Event if legal(event, State.COMPLETED)] == [Event.DELETE]


@pytest.mark.req("Q-04", "Q-05")
def test_an_end_state_has_an_end_status_and_an_open_state_an_open_one() -> None:
    pairs = set(legal_pairs())
    assert {status for state, status in pairs if state is State.COMPLETED} == {
        Status.SUCCESS,
        Status.FAILURE,
        Status.CANCELLED,
    }
    assert not any(status is Status.EMPTY for _, status in pairs)
    assert (State.ARCHIVED, Status.FAILURE) in pairs
    assert (State.ARCHIVED, Status.SUCCESS) not in pairs
    assert (State.PENDING, Status.FAILURE) not in pairs


@pytest.mark.req("Q-05")
@given(st.data())
def test_a_random_walk_along_the_table_rests_only_in_legal_pairs(data: st.DataObject) -> None:
    first = data.draw(st.sampled_from([row for row in TABLE if not row.sources]))
    assert first.target is not None and first.status is not None
    state, status = first.target, first.status
    pairs = set(legal_pairs())
    assert (state, status) in pairs
    for _ in range(data.draw(st.integers(0, 25))):
        row = data.draw(st.sampled_from([row for row in TABLE if state in row.sources]))
        if row.target is None:
            return
        if row.event is Event.POLL:
            status = data.draw(st.sampled_from(sorted(OPEN_STATUSES)))
        state, status = row.target, row.status if row.status is not None else status
        assert (state, status) in pairs, row.event
