"""Is the system able to do its work? Never raises: what cannot be reached is said so."""

import msgspec
import structlog
from django.conf import settings
from django.db import DatabaseError

from jobs.contract.reader import contract
from jobs.domain.errors import RedisUnavailable
from jobs.selectors import queues, secrets, workers
from jobs.selectors.queues import LEVELS, QueueView
from jobs.store import keys, postgres, redis

log = structlog.get_logger("health")


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`drift`: waiting tasks without a ticket in Redis (null: unknown); `queue_utilization`: the worst.

    `secrets_unopened`: stored secrets that cannot be opened here or in a worker, for its key is missing (null: not
    looked at, for keys that do not see all tenants).
    """

    healthy: bool
    redis_connected: bool
    postgres_connected: bool
    queue_utilization: float
    worker_active_count: int
    processor_count: int
    backpressure_state: str
    drift: int | None
    stopped: bool
    secrets_unopened: int | None


def check(tenant_id: int | None = None) -> Health:
    """Look at both stores now, and at the queues (of a tenant).

    Healthy: the stores answer, a worker is alive, nothing is stopped and no key is missing.
    """
    seen, redis_up = _look(tenant_id), redis_connected()
    listed, alive, slots, stopped = seen or ([], 0, 0, False)
    stores = seen is not None and (redis_up or not settings.ASYNQ_POLLING_ENABLED)
    lost = _secrets_unopened() if seen is not None and tenant_id is None else None
    return Health(
        healthy=stores and alive > 0 and not stopped and not lost,
        redis_connected=redis_up,
        postgres_connected=seen is not None,
        queue_utilization=max((q.utilization for q in listed), default=0.0),
        worker_active_count=alive,
        processor_count=slots,
        backpressure_state=worst_level(listed),
        drift=drift(listed) if seen is not None and redis_up else None,
        stopped=stopped,
        secrets_unopened=lost,
    )


def redis_connected() -> bool:
    try:
        return redis.ping()
    except RedisUnavailable:
        return False


def worst_level(listed: list[QueueView]) -> str:
    return LEVELS[max((LEVELS.index(q.backpressure_state) for q in listed), default=0)]


def drift(listed: list[QueueView]) -> int | None:
    """Summed over queues: tasks that wait within the window minus tickets that are out; transient while busy."""
    window, names = contract().limits.window, [q.queue for q in listed]
    lists = [keys.tickets(name, lane) for name in names for lane in keys.LISTED]
    try:
        depths = redis.depths(lists)
    except RedisUnavailable:
        return None
    each = len(keys.LISTED)
    tickets = [sum(depths[at : at + each]) for at in range(0, len(depths), each)]
    return sum(
        max(0, min(q.pending, window) - n)
        for q, n in zip(listed, tickets, strict=True)
        if not q.paused
    )


def _look(tenant_id: int | None) -> tuple[list[QueueView], int, int, bool] | None:
    try:
        return queues.listing(tenant_id, busy=True), *workers.alive(), _stopped()
    except DatabaseError as error:
        log.warning("postgres unreachable", error=str(error).strip())
        return None


def _secrets_unopened() -> int | None:
    found = secrets.unopened()
    return None if found is None else found.count


def _stopped() -> bool:
    return bool(postgres.query("SELECT stopped FROM control WHERE id = 1")[0][0])
