"""The audit log, newest first."""

from datetime import datetime
from typing import Any

import msgspec

from jobs.models import ApiKey, AuditEntry
from jobs.selectors.credits import estimated
from jobs.selectors.paging import Page, cursor, key_int


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    at: datetime
    actor: str
    address: str
    action: str
    target: str
    reason: str
    refused: bool
    before: Any
    after: Any


def listing(
    *,
    actor: str | None = None,
    action: str | None = None,
    after: str | None = None,
    limit: int = 20,
    tenant_id: int | None = None,
) -> Page[AuditView]:
    """`after` is the `next_cursor` of the page before; `tenant_id`: what its keys did."""
    rows = AuditEntry.objects.order_by("-id")
    if tenant_id is not None:
        rows = rows.filter(actor__in=_actors(tenant_id))
    if actor is not None:
        rows = rows.filter(actor=actor)
    if action is not None:
        rows = rows.filter(action=action)
    last = key_int(after)
    found = list((rows if last is None else rows.filter(pk__lt=last))[: limit + 1])
    items = [_view(row) for row in found[:limit]]
    more = len(found) > limit
    return Page(
        items=items,
        next_cursor=cursor(items[-1].id) if more else None,
        estimated_total=len(items) if last is None and not more else estimated("audit_entry"),
    )


def _actors(tenant_id: int) -> list[str]:
    """A tenant's keys as the log names them; neither name nor id of a key ever changes."""
    keys = ApiKey.objects.filter(tenant_id=tenant_id).values_list("name", "key_id")
    return [f"key:{name} ({key_id})" for name, key_id in keys]


def _view(row: AuditEntry) -> AuditView:
    return AuditView(**{name: getattr(row, name) for name in AuditView.__struct_fields__})
