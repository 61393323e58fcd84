"""Names of the keys in Redis; `rq:` ones are RQ's own, so that its tools read them."""

from jobs.domain.states import Lane

EPOCH = "tc:epoch"
QUEUES = "rq:queues"
SUFFIXES = {Lane.PROCESS: ":iso", Lane.PLATFORM: ":poll"}
LISTED = (Lane.ASYNC, *SUFFIXES)
HELD = "tc:held"
LIMITS = "tc:limit"


def tickets(queue: str, lane: int = Lane.ASYNC) -> str:
    """The list of tickets of a queue; lanes with slots of their own have lists of their own beside it."""
    return f"rq:queue:{queue}{SUFFIXES.get(lane, '')}"  # type: ignore[call-overload]


def started(queue: str) -> str:
    """RQ's started registry."""
    return f"rq:wip:{queue}"


def job(ticket_id: str) -> str:
    return f"rq:job:{ticket_id}"


def inflight(worker_id: int | str) -> str:
    """Hash of ticket → list it was popped from."""
    return f"tc:inflight:{worker_id}"


def ring(base: str, lane: int = Lane.ASYNC) -> str:
    """Sorted set of the queues of a base that hold tickets, by their turn."""
    return f"tc:ring:{base}{SUFFIXES.get(lane, '')}"  # type: ignore[call-overload]


def running(slug: str) -> str:
    """Set of a limited tenant's tickets that workers hold."""
    return f"tc:run:{slug}"


def wake(worker_id: int | str) -> str:
    return f"tc:wake:{worker_id}"


def signal(worker_id: int | str) -> str:
    """Channel on which a worker hears of cancellations and settings at once."""
    return f"tc:signal:{worker_id}"
