"""Writing a page of migrated rows: tasks, charges, refunds and the note that it is done, in one transaction."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import OperationalError, transaction

from jobs.contract.reader import contract
from jobs.domain.errors import Conflict
from jobs.domain.outcomes import Kind
from jobs.domain.states import State, Status
from jobs.handlers.registry import PLATFORM_RUN, handler
from jobs.models import Platform
from jobs.operations import endings, platforms
from jobs.operations.endings import Finish
from jobs.operations.migration.mapping import Mapping
from jobs.operations.migration.rows import Action, NewTask
from jobs.operations.platforms import PlatformSpec
from jobs.store import catalog, postgres, sealed

ACTOR = "migrate"
_QUEUE = "scheduled"
_TRIES = 8
_PASSES = {
    "40P01",
    "40001",
    "55P03",
}  # deadlock, serialization, lock timeout: somebody else was first


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What an earlier run made of a row."""

    task_id: UUID
    action: Action
    reason: str
    refund: int


def done(keys: Sequence[str]) -> dict[str, Done]:
    """The rows among `keys` that were migrated before."""
    rows = postgres.query(
        "SELECT key, task_id, action, reason, refund FROM migrated_row WHERE key = ANY(%s)",
        [list(keys)],
    )
    return {
        key: Done(task_id=task_id, action=Action(action), reason=reason, refund=refund)
        for key, task_id, action, reason, refund in rows
    }


def make_platforms(mapping: Mapping) -> dict[str, Platform]:
    """All platforms of the mapping by name; missing ones are made, disabled and for an operator to complete."""
    for name in mapping.names():
        if Platform.objects.filter(name=name).exists():
            continue
        try:
            platforms.create(
                PlatformSpec(
                    name=name,
                    protocol=mapping.protocols.get(name, "generic"),
                    base_url=f"https://{name}.invalid",
                    enabled=False,
                )
            )
        except Conflict:  # made by somebody a moment ago
            continue
    return {
        platform.name: platform for platform in Platform.objects.filter(name__in=mapping.names())
    }


def write(tasks: Sequence[NewTask], known: dict[str, Platform]) -> None:
    """Write these rows' tasks and end those that have failed; a row written before is left alone."""
    for attempt in range(1, _TRIES + 1):
        try:
            with transaction.atomic():
                made = {row[0] for row in postgres.fetch("migration_insert", _params(tasks, known))}
                failed = [str(t.id) for t in tasks if t.error is not None and str(t.id) in made]
                if failed:
                    endings.finish(failed, _FAILED)
            return
        except OperationalError as error:
            state = getattr(error.__cause__, "sqlstate", None)
            if state not in _PASSES or attempt == _TRIES:
                raise
            time.sleep(random.uniform(0.05, 0.2) * attempt)


_FAILED = Finish(
    state=State.COMPLETED,
    status=Status.FAILURE,
    sources=(State.SCHEDULED,),
    kind=Kind.FAILED,
    reason="migration",
    actor=ACTOR,
)


def refund_of(task: NewTask) -> int:
    return task.credits if task.error is not None else 0


def _params(tasks: Sequence[NewTask], known: dict[str, Platform]) -> dict[str, Any]:
    accounts = _accounts({t.user_id for t in tasks if t.credits and t.user_id is not None})
    of = [known[t.platform] for t in tasks]
    return {
        "keys": [t.key for t in tasks],
        "ids": [t.id for t in tasks],
        "actions": [t.action.value for t in tasks],
        "reasons": [t.reason for t in tasks],
        "refunds": [refund_of(t) for t in tasks],
        "aliases": [t.alias for t in tasks],
        "statuses": [int(t.status) for t in tasks],
        "progress": [t.progress for t in tasks],
        "delays_s": [
            t.spread * contract().profile(p.profile).max_s for t, p in zip(tasks, of, strict=True)
        ],
        "accounts": [accounts.get(t.user_id) if t.credits else None for t in tasks],
        "credits": [t.credits for t in tasks],
        "users": [t.user_id for t in tasks],
        "platforms": [t.platform for t in tasks],
        "platform_ids": [p.pk for p in of],
        "time_limits_s": [p.time_limit_s for p in of],
        "externals": [t.external_id for t in tasks],
        "raw_statuses": [t.raw_status for t in tasks],
        "created": [t.created_at for t in tasks],
        "started": [t.started_at for t in tasks],
        "submitted": [t.submitted_at for t in tasks],
        "polled": [t.polled_at for t in tasks],
        "payloads": [sealed.close(t.payload_json) for t in tasks],
        "urls": [t.urls_json for t in tasks],
        "errors": [t.error for t in tasks],
        "queue_id": catalog.queues().get(_QUEUE).id,
        "timeout_ms": round(float(settings.TASKCENTER["RUN_TIMEOUT_S"]) * 1000),
        "retention_s": int(settings.TASKCENTER["RETENTION_S"]),
        "max_retries": handler(PLATFORM_RUN).policy.max_retries,
    }


def _accounts(users: set[int]) -> dict[int | None, int]:
    """The accounts of these users, opened where there is none."""
    if not users:
        return {}
    ordered = sorted(users)
    postgres.query(
        "INSERT INTO account (tenant_id, user_id, balance) SELECT 1, u, 0 FROM unnest(%s::bigint[]) u"
        " WHERE NOT EXISTS (SELECT FROM account a WHERE a.tenant_id = 1 AND a.user_id = u)"
        " ORDER BY u ON CONFLICT (tenant_id, user_id) DO NOTHING RETURNING id",
        [ordered],
    )
    rows = postgres.query(
        "SELECT user_id, id FROM account WHERE tenant_id = 1 AND user_id = ANY(%s)", [ordered]
    )
    return dict(rows)
