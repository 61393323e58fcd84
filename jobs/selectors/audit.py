"""The audit log, newest first."""

from datetime import datetime
from typing import Any

import msgspec

from jobs.domain.errors import Invalid
from jobs.models import AuditEntry, Tenant
from jobs.selectors.credits import estimated
from jobs.selectors.paging import Page, at_least, cursor, key_int
from jobs.selectors.tenants import slugs


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """`tenant`: whose key it was; people and commands are the default tenant's."""

    id: int
    at: datetime
    tenant: str
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
    refused: bool | None = None,
    after: str | None = None,
    limit: int = 20,
    tenant_id: int | None = None,
    tenant: str | None = None,
) -> Page[AuditView]:
    """`after` is the `next_cursor` of the page before; `tenant_id`, `tenant` (its slug): what its keys did.

    Raises Invalid for an unknown slug.
    """
    rows = AuditEntry.objects.order_by("-id")
    if tenant_id is not None:
        rows = rows.filter(tenant_id=tenant_id)
    if tenant is not None:
        rows = rows.filter(tenant_id=_tenant_id(tenant, tenant_id))
    if actor is not None:
        rows = rows.filter(actor=actor)
    if action is not None:
        rows = rows.filter(action=action)
    if refused is not None:
        rows = rows.filter(refused=refused)
    last = key_int(after)
    found = list((rows if last is None else rows.filter(pk__lt=last))[: limit + 1])
    items = _views(found[:limit])
    more = len(found) > limit
    return Page(
        items=items,
        next_cursor=cursor(items[-1].id) if more else None,
        estimated_total=len(items)
        if last is None and not more
        else at_least(len(items), more, estimated("audit_entry")),
    )


def _tenant_id(slug: str, own: int | None) -> int:
    """Unknown tenants and those that are not one's own are refused with one text."""
    found = Tenant.objects.filter(slug=slug).values_list("id", flat=True).first()
    if found is None or own not in (None, found):
        raise Invalid("There is no such tenant", field="tenant", tenant=slug)
    return found


def _views(rows: list[AuditEntry]) -> list[AuditView]:
    known = slugs(row.tenant_id for row in rows)
    names = [name for name in AuditView.__struct_fields__ if name != "tenant"]
    return [
        AuditView(
            tenant=known.get(row.tenant_id, ""), **{name: getattr(row, name) for name in names}
        )
        for row in rows
    ]
