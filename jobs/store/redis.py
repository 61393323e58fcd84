"""Redis: tickets and wake-ups, one script per verb. Every failure to reach it is RedisUnavailable."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import redis
import structlog
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.domain.errors import RedisUnavailable, StaleEpoch
from jobs.domain.states import Lane
from jobs.store import keys

log = structlog.get_logger("redis")

_FOLDER = Path(__file__).parent / "lua"
BLOCKING_S = 15.0  # socket time-out of blocking calls; a client per purpose, whatever the wait
TURN = 8  # least tickets that a queue gives in its turn, if it has them
_FAR_AHEAD = 4102444800  # 2100-01-01: RQ's tools expire started entries whose score has passed
_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Batch:
    """Tickets that one queue gave in one turn; `source`: which of the sources asked."""

    source: int
    queue: str
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Ticket:
    """A pending task on its way to a worker; `id` is the task's UUID as text."""

    id: str
    queue: str
    lane: int = Lane.ASYNC


@functools.cache
def client(purpose: str = "commands", socket_timeout_s: float = 3.0) -> "redis.Redis[str]":
    """One pooled client per process and purpose. No retries: a repeated pop would lose tickets."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        decode_responses=True,
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=2.0,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        max_connections=64,
        client_name=f"taskcenter-{purpose}",
    )


@functools.cache
def script(name: str) -> Any:
    """`lua/<name>.lua` with `common.lua` between its first line, which says what it may do, and the rest."""
    first, _, rest = (_FOLDER / f"{name}.lua").read_text().partition("\n")
    return client().register_script("\n".join([first, (_FOLDER / "common.lua").read_text(), rest]))


def guarded(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Turn redis-py's errors into ours: EPOCH into StaleEpoch, the unreachable into RedisUnavailable."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return function(*args, **kwargs)
        except redis.ResponseError as error:
            if "EPOCH" in str(error):
                raise StaleEpoch() from error
            raise RedisUnavailable(error=str(error)) from error
        except (redis.RedisError, OSError) as error:
            raise RedisUnavailable(error=f"{type(error).__name__}: {error}") from error

    return call


@guarded
def push(
    tickets: Iterable[Ticket],
    *,
    epoch: int,
    limit: int,
    tenant_limit: int | None = None,
    front: bool = False,
) -> tuple[dict[str, int], list[str]]:
    """Push tickets in their order (front: the last one ends up first). One round trip.

    `limit`: most tickets that a list may hold; `tenant_limit`: a list of a tenant's queue. Returns the depth per list
    pushed to, and the ids that found their list full. Raises StaleEpoch.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for ticket in tickets:
        groups.setdefault((ticket.queue, keys.tickets(ticket.queue, ticket.lane)), []).append(
            ticket.id
        )
    if not groups:
        return {}, []
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    one = script("push")
    # A pipeline asks first whether the script is loaded: a round trip more, so a single list goes without.
    pipe = client().pipeline(transaction=False) if len(groups) > 1 else None
    depths_now = [
        one(
            keys=[keys.EPOCH, list_key, keys.QUEUES],
            args=[
                epoch,
                int(front),
                limit if tenant_limit is None or ":" not in queue else tenant_limit,
                now,
                *ids,
            ],
            client=client() if pipe is None else pipe,
        )
        for (queue, list_key), ids in groups.items()
    ]
    if pipe is not None:
        depths_now = pipe.execute()
    depths: dict[str, int] = {}
    full: list[str] = []
    for ((_, list_key), ids), depth in zip(groups.items(), depths_now, strict=True):
        if depth < 0:
            full.extend(ids)
        else:
            depths[list_key] = depth
    return depths, full


@guarded
def fetch(
    worker_id: int,
    sources: Sequence[str],
    *,
    want: int,
    epoch: int,
    was_idle: bool,
    shares: Sequence[int] = (),
    rooms: Mapping[str, int] | None = None,
) -> list[Batch]:
    """Pop up to `want` tickets from `sources` (rings, ticket lists) in that order. Nothing there: registered as idle.

    `shares`: what each source gives before any gives more (default: all of it). `rooms`: how many tasks of a queue this
    worker may still take, for queues with a limit.
    """
    limits = [part for pair in (rooms or {}).items() for part in pair]
    found = script("fetch")(
        keys=[keys.EPOCH, keys.inflight(worker_id), *sources],
        args=[epoch, worker_id, want, _FAR_AHEAD, int(was_idle), TURN]
        + (list(shares) or [want] * len(sources))
        + limits,
    )
    return [Batch(int(entry[0]) - 1, entry[1], entry[2:]) for entry in found]


@guarded
def ack(worker_id: int, ids: Sequence[str]) -> int:
    """Forget tickets after their settle; returns how many were still held."""
    if not ids:
        return 0
    return int(script("ack")(keys=[keys.inflight(worker_id)], args=[worker_id, *ids]))


@guarded
def give_back(worker_id: int, ids: Sequence[str], *, epoch: int, front: bool) -> int:
    """Return unclaimed tickets, in their order, to the head or the tail of the lists they came from."""
    if not ids:
        return 0
    ordered = list(reversed(ids)) if front else list(ids)
    return int(
        script("give_back")(
            keys=[keys.EPOCH, keys.inflight(worker_id)],
            args=[epoch, worker_id, int(front), *ordered],
        )
    )


@guarded
def bury(worker_id: int) -> int:
    """Remove a dead worker's keys; returns how many tickets it held."""
    return int(
        script("bury")(keys=[keys.inflight(worker_id), keys.wake(worker_id)], args=[worker_id])
    )


@guarded
def wait(worker_id: int, timeout_s: float) -> bool:
    """Sleep until somebody pushes work for this worker; False after `timeout_s`. Uses its own connection."""
    return client("wait", BLOCKING_S).blpop([keys.wake(worker_id)], timeout=timeout_s) is not None


@guarded
def wake(worker_id: int) -> None:
    """Wake one worker (to stop, to look at changed settings)."""
    pipe = client().pipeline(transaction=False)
    pipe.rpush(keys.wake(worker_id), "1")
    pipe.expire(keys.wake(worker_id), 30)
    pipe.execute()


def listen(channels: Sequence[str], timeout_s: float) -> Iterator[tuple[str, str] | None]:
    """(channel, message) as they come, None after each `timeout_s` of silence. Uses its own connection."""
    try:
        with client("ears", BLOCKING_S).pubsub(ignore_subscribe_messages=True) as ears:
            ears.subscribe(*channels)
            while True:
                message = ears.get_message(timeout=timeout_s)
                yield None if message is None else (message["channel"], message["data"])
    except (redis.RedisError, OSError) as error:
        raise RedisUnavailable(error=f"{type(error).__name__}: {error}") from error


def cancel_signal(worker_id: int | str) -> None:
    """Tell a worker to look at its cancellations now. Best effort: its next heartbeat looks in any case."""
    try:
        client().publish(keys.signal(worker_id), "cancel")
    except (redis.RedisError, OSError) as error:
        log.info("cancel signal not sent", worker=worker_id, error=str(error))


@guarded
def depths(lists: Sequence[str]) -> list[int]:
    """Length of each list, one round trip; a key that is no list has none."""
    pipe = client().pipeline(transaction=False)
    for list_key in lists:
        pipe.llen(list_key)
    return [0 if isinstance(n, Exception) else int(n) for n in pipe.execute(raise_on_error=False)]


@guarded
def listed(list_key: str) -> list[str]:
    """All ids on a list (bounded by the window)."""
    return list(client().lrange(list_key, 0, -1))


@guarded
def all_listed(lists: Sequence[str]) -> list[list[str]]:
    """All ids on each list, one round trip; a key that is no list has none."""
    pipe = client().pipeline(transaction=False)
    for list_key in lists:
        pipe.lrange(list_key, 0, -1)
    return [[] if isinstance(a, Exception) else list(a) for a in pipe.execute(raise_on_error=False)]


@guarded
def held(worker_ids: Sequence[int]) -> dict[int, set[str]]:
    """The tickets that each worker has in flight."""
    pipe = client().pipeline(transaction=False)
    for worker_id in worker_ids:
        pipe.hkeys(keys.inflight(worker_id))
    answers = pipe.execute(raise_on_error=False)
    return {
        w: set() if isinstance(ids, Exception) else set(ids)
        for w, ids in zip(worker_ids, answers, strict=True)
    }


@guarded
def epoch_and_run_id() -> tuple[int | None, str]:
    """The epoch that Redis holds (None after a loss) and the server's run id."""
    value = client().get(keys.EPOCH)
    return (int(value) if value else None), str(client().info("server")["run_id"])


@guarded
def facts() -> dict[str, object]:
    """INFO's sections on the server and its memory; a managed server may tell less."""
    return {**client().info("server"), **client().info("memory")}


@guarded
def set_epoch(epoch: int) -> None:
    client().set(keys.EPOCH, epoch)


@guarded
def drop_list(list_key: str) -> None:
    """Remove a list of tickets; their rows decide what becomes of the tasks."""
    client().delete(list_key)


@guarded
def ping() -> bool:
    return bool(client().ping())
