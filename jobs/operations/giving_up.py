"""The last resort for a run whose end cannot be stored: it ends as failed, with whatever can be done of the rest."""

from collections.abc import Callable
from dataclasses import replace

import structlog
from django.conf import settings
from django.db import transaction

from jobs.contract.reader import contract
from jobs.domain import ids
from jobs.models import Event
from jobs.models.tasks import Flag
from jobs.operations import credits, endings, limits
from jobs.operations.endings import Ended
from jobs.store import catalog, postgres

log = structlog.get_logger("runs")

_ENTER = (
    "INSERT INTO credit_entry (account_id, kind, amount, task_id, cycle, reason, actor)"
    " VALUES (%s, 3, %s, %s, %s, %s, 'system')"
    " ON CONFLICT (task_id, cycle) WHERE kind = 3 DO NOTHING RETURNING 1"
)


def give_up(
    worker_id: int, task_id: str, token: int, error: str, *, refund: int | None = None
) -> bool:
    """End one run as failed, for good; False when it was no longer this worker's. `refund`: None is all of it.

    Refund, unique lock, parent, platform and callback are tried each for itself; an event says what was left undone.
    """
    with transaction.atomic():
        rows = postgres.fetch(
            "task_give_up",
            {
                "id": task_id,
                "worker": worker_id,
                "token": token,
                "error": error[: contract().limits.error_chars],
                "dead_queue": catalog.queues().dead_letter_id,
                "dead_retention_s": settings.TASKCENTER["DEAD_RETENTION_S"],
            },
        )
        if not rows:
            return False
        undone = [name for name, part in _parts(rows[0], refund).items() if not _done(name, part)]
        Event.objects.create(
            task_id=task_id, kind="given_up", actor="system", detail={"left_undone": undone}
        )
    log.error(
        "run given up", task_id=ids.public_id(task_id), error=error[:1000], left_undone=undone
    )
    return True


def _parts(row: postgres.Row, refund: int | None) -> dict[str, Callable[[], None]]:
    """What the end of this task brings with it, by name."""
    id_, _, flags, parent_id, account, amount, cycle, state, status, limit_id = row
    bare = Ended(id=id_, state=state, status=status, flags=0, parent_id=None)

    def follow(ended: Ended) -> Callable[[], None]:
        return lambda: _paid(endings.follow_up([ended]))

    parts: dict[str, Callable[[], None]] = {}
    if limit_id is not None:
        parts["place"] = lambda: limits.admit_soon([limit_id])
    back = amount if refund is None else max(0, min(refund, amount))
    if back and account is not None:
        reason = "failed" if back == amount else "partly billed"
        parts["refund"] = lambda: _refund(id_, account, back, cycle, reason)
    if parent_id is not None:
        parts["parent"] = follow(replace(bare, parent_id=parent_id))
    for flag in (Flag.UNIQUE, Flag.PLATFORM, Flag.CALLBACK):
        if flags & flag:
            parts[str(flag.name).lower()] = follow(replace(bare, flags=int(flag)))
    waited_for = flags & (Flag.AWAITED | Flag.COLLECTED | Flag.PARENT)
    if waited_for:
        parts["awaited"] = follow(replace(bare, flags=int(waited_for)))
    return parts


def _done(name: str, part: Callable[[], None]) -> bool:
    try:
        with transaction.atomic():
            part()
    except Exception as error:
        if postgres.is_away(error):
            raise
        log.error(
            "part of an end left undone", part=name, error=f"{type(error).__name__}: {error}"[:1000]
        )
        return False
    return True


def _refund(task_id: str, account: int, amount: int, cycle: int, reason: str) -> None:
    if postgres.query(_ENTER, [account, amount, task_id, cycle, reason]):
        credits.pay_back([(account, amount)])


def _paid(refunds: list[endings.Refund]) -> None:
    credits.pay_back(refunds)
