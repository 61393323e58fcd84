"""The two axes of a task: where it is delivered (State) and how the business sees it (Status)."""

from enum import IntEnum


class State(IntEnum):
    """Delivery state. The number is what the database stores, `wire` what users read."""

    PENDING = 1
    ACTIVE = 2
    SCHEDULED = 3
    RETRY = 4
    ARCHIVED = 5
    COMPLETED = 6
    AGGREGATING = 7

    @property
    def wire(self) -> str:
        return self.name.lower()


class Status(IntEnum):
    """Business status. EMPTY (wire form `""`) is only ever heard from a platform, never stored."""

    NOT_START = 0
    SUBMITTED = 1
    QUEUED = 2
    IN_PROGRESS = 3
    SUCCESS = 4
    FAILURE = 5
    UNKNOWN = 6
    EMPTY = 7
    CANCELLED = 9

    @property
    def wire(self) -> str:
        return "" if self is Status.EMPTY else self.name


class Lane(IntEnum):
    """Where a run happens inside a worker process."""

    ASYNC = 0
    THREAD = 1
    PROCESS = 2
    PLATFORM = 3

    @property
    def wire(self) -> str:
        return self.name.lower()


WAITING = frozenset({State.PENDING, State.SCHEDULED, State.RETRY, State.AGGREGATING})
OPEN_STATUSES = frozenset(
    {Status.NOT_START, Status.SUBMITTED, Status.QUEUED, Status.IN_PROGRESS, Status.UNKNOWN}
)
ENDED_STATUSES = frozenset({Status.SUCCESS, Status.FAILURE, Status.CANCELLED})


def state_from_wire(name: str) -> State:
    """Raises KeyError for a name that is no state."""
    return _STATES[name]


def status_from_wire(name: str) -> Status:
    """Raises KeyError for a name that is no status."""
    return _STATUSES[name]


_STATES = {state.wire: state for state in State}
_STATUSES = {status.wire: status for status in Status}
