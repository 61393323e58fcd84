"""Queues: pause, resume, settings, the emergency stop; and the contract's queues as rows."""

from collections.abc import Collection, Sequence

import structlog
from django.db import transaction
from django.utils.translation import gettext_noop

from jobs.contract.reader import contract
from jobs.domain.errors import Conflict, Invalid
from jobs.models import Queue
from jobs.store import catalog, postgres, redis

log = structlog.get_logger("queues")

_MOST = 10_000
_MOST_CAPACITY = 2**31 - 1
_HELD = gettext_noop("Queue %(queue)s is paused with its tenant, which only the operator resumes")


def sync_contract() -> None:
    """Insert the contract's queues that have no row yet; rows that exist keep what operators set."""
    for name, spec in contract().queues.items():
        Queue.objects.get_or_create(
            name=name, defaults={"weight": spec.weight, "capacity": spec.capacity}
        )
    catalog.stale()


def pause(name: str, *, reason: str = "") -> None:
    """No task of this queue starts after this commits. Raises UnknownQueue, Conflict when it is paused already."""
    _set_paused(name, True, reason)


def resume(name: str) -> None:
    """Raises UnknownQueue, Conflict when it is not paused itself; a pause of its tenant stays."""
    _set_paused(name, False, "")


def configure(
    name: str,
    *,
    weight: int | None = None,
    capacity: int | None = None,
    concurrency: int | None = None,
) -> None:
    """Change what is given, live. `concurrency`: most tasks of it at once in one worker process, 0 for no limit.

    Raises UnknownQueue, Invalid.
    """
    row = catalog.queues(fresh=True).get(name)
    if weight is not None and not 1 <= weight <= 1000:
        raise Invalid("A weight is between 1 and 1000", given=weight)
    if capacity is not None and not 1 <= capacity <= _MOST_CAPACITY:
        raise Invalid("A capacity is between 1 and %(most)s", most=_MOST_CAPACITY, given=capacity)
    if concurrency is not None and not 0 <= concurrency <= _MOST:
        raise Invalid("A queue's concurrency is 0 (no limit) to 10000", given=concurrency)
    with transaction.atomic():
        postgres.query(
            "UPDATE queue SET weight = coalesce(%s, weight), capacity = coalesce(%s, capacity),"
            " concurrency = nullif(coalesce(%s, concurrency), 0) WHERE id = %s RETURNING 1",
            [weight, capacity, concurrency, row.id],
        )
        announce()


def revive_soon(queue_ids: Collection[int]) -> None:
    """After the caller's commit, for `control` is locked by it; a duty does it where the caller dies before."""
    if queue_ids:
        transaction.on_commit(lambda: revive(sorted(queue_ids)), robust=True)


def revive(queue_ids: Sequence[int]) -> None:
    """Deleted queues that hold tasks again, paused if they were. In a transaction of its own."""
    if queue_ids and postgres.query(
        "UPDATE queue SET removed = false WHERE removed AND id = ANY(%s::int[]) RETURNING name",
        [list(queue_ids)],
    ):
        catalog.stale()
        log.info("queue registered again", queues=list(queue_ids)[:10])


def stop_everything(stopped: bool, *, reason: str = "") -> None:
    """The emergency stop: no worker starts anything while it is on; running tasks finish."""
    postgres.query(
        "UPDATE control SET stopped = %s, stopped_reason = %s, version = version + 1 WHERE id = 1 RETURNING 1",
        [stopped, reason],
    )
    transaction.on_commit(_tell_everybody, robust=True)
    log.warning("emergency stop", stopped=stopped, reason=reason)


def announce() -> None:
    """Tell running workers that settings changed: they compare the control version with each heartbeat."""
    postgres.query("UPDATE control SET version = version + 1 WHERE id = 1 RETURNING 1")
    catalog.stale()
    transaction.on_commit(_tell_everybody, robust=True)


def _tell_everybody() -> None:
    """Workers look at once instead of at their next heartbeat."""
    catalog.stale()
    redis.cancel_signal("all")


def _set_paused(name: str, paused: bool, reason: str) -> None:
    row = catalog.queues(fresh=True).get(name)
    with transaction.atomic():
        changed = postgres.query(
            "UPDATE queue SET paused = %s, paused_reason = %s, deleting_at = NULL"
            " WHERE id = %s AND (paused <> %s OR deleting_at IS NOT NULL) RETURNING 1",
            [paused, reason, row.id, paused],
        )
        if not changed:
            if paused:
                raise Conflict("Queue %(queue)s is already paused", queue=name)
            raise Conflict(_HELD if row.paused else "Queue %(queue)s is not paused", queue=name)
        announce()
    log.warning("queue paused" if paused else "queue resumed", queue=name, reason=reason)
