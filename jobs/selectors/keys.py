"""API keys without their secrets."""

from datetime import datetime

import msgspec

from jobs.models import ApiKey
from jobs.selectors.paging import Page, cursor, key_int
from jobs.selectors.tenants import slugs


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """`key_id` is the third part of the key, by which it is recognised; `created_by` is empty where it is not known."""

    key_id: str
    name: str
    tenant: str
    scopes: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


def listing(
    tenant_id: int | None = 1, *, after: str | None = None, limit: int = 100
) -> Page[KeyView]:
    """Newest first, revoked ones too; None: of all tenants."""
    own = ApiKey.objects.order_by("-id")
    own = own if tenant_id is None else own.filter(tenant_id=tenant_id)
    last = key_int(after)
    rows = list((own if last is None else own.filter(pk__lt=last))[: limit + 1])
    more = len(rows) > limit
    known = slugs(row.tenant_id for row in rows)
    names = [name for name in KeyView.__struct_fields__ if name != "tenant"]
    items = [
        KeyView(tenant=known.get(row.tenant_id, ""), **{name: getattr(row, name) for name in names})
        for row in rows[:limit]
    ]
    return Page(
        items=items,
        next_cursor=cursor(rows[limit - 1].pk) if more else None,
        estimated_total=own.count(),
    )
