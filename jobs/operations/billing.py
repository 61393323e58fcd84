"""Billing elsewhere (C-05): every credit entry is told to another service by a signed `billing:deliver` task.

A trigger notes each entry's id in `billing_outbox` within the entry's own transaction; `deliver` turns notes into
tasks and removes them in one transaction of its own. Nothing is lost or forgotten, whoever dies in between.
"""

from collections.abc import Sequence

import structlog
from django.conf import settings
from django.db import transaction

from jobs.domain import ids
from jobs.models import CreditEntry
from jobs.operations.locks import Refused
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit_many
from jobs.store import postgres

log = structlog.get_logger("billing")

BATCH = 100
DELIVER = "billing:deliver"
_KINDS = dict(CreditEntry.KINDS)
_MOST_RETRIES = 1_000  # at the longest back-off of 300 s about three and a half days
_KEPT_S = 7 * 86_400


def sync() -> bool:
    """Set the trigger's switch by the settings; True when entries are to be delivered."""
    on = bool(settings.TASKCENTER.get("BILLING_URL"))
    changed = postgres.query(
        "UPDATE billing_switch SET is_on = %s WHERE id = 1 AND is_on <> %s RETURNING 1", [on, on]
    )
    if changed:
        log.warning("billing", on=on)
    return on


def deliver() -> int:
    """Submit the callbacks of a batch of noted entries; returns how many. A full queue leaves them for later."""
    with transaction.atomic():
        rows = postgres.fetch("billing_take", {"limit": BATCH})
        if not rows:
            return 0
        results = submit_many([_request(row) for row in rows], internal=True)
        sent = [
            row[0]
            for row, result in zip(rows, results, strict=True)
            if not isinstance(result, Refused)
        ]
        _forget(sent)
    if len(sent) < len(rows):
        log.warning("billing callbacks wait: the queue is full", count=len(rows) - len(sent))
    return len(sent)


def _forget(entry_ids: Sequence[int]) -> None:
    postgres.query(
        "DELETE FROM billing_outbox WHERE entry_id = ANY(%s) RETURNING 1", [list(entry_ids)]
    )


def _request(row: postgres.Row) -> TaskRequest:
    """Every try of one entry carries the same key, in its headers and in its body."""
    entry_id, kind, amount, task_id, custom_id, cycle, reason, created_at, user_id, tenant = row
    key = f"entry:{entry_id}"
    return TaskRequest(
        type=DELIVER,
        payload={
            "url": settings.TASKCENTER["BILLING_URL"],
            "headers": {"idempotency-key": key},
            "secret": settings.TASKCENTER["BILLING_SECRET"] or None,
            "retry_status": ["3xx", "4xx", "5xx"],
            "body": {
                "event": "credit.entry",
                "key": key,
                "entry_id": entry_id,
                "kind": _KINDS[kind],
                "amount": amount,
                "user_id": user_id,
                "tenant": tenant,
                "task_id": None if task_id is None else custom_id or ids.public_id(task_id),
                "cycle": cycle,
                "reason": reason,
                "created_at": created_at.isoformat(),
            },
        },
        queue="low",
        idempotency_key=key,
        max_retries=_MOST_RETRIES,
        retention=_KEPT_S,
        tags=["billing"],
    )
