"""API keys without their secrets."""

from datetime import datetime

import msgspec

from jobs.models import ApiKey, Tenant
from jobs.selectors.paging import Page, whole


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """`key_id` is the third part of the key, by which it is recognised."""

    key_id: str
    name: str
    tenant: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


def listing(tenant_id: int | None = 1) -> Page[KeyView]:
    """Newest first, revoked ones too; None: of all tenants."""
    rows = ApiKey.objects.order_by("-id")
    found = (rows if tenant_id is None else rows.filter(tenant_id=tenant_id))[:1000]
    slugs: dict[int, str] = dict(Tenant.objects.values_list("id", "slug"))
    names = [name for name in KeyView.__struct_fields__ if name != "tenant"]
    return whole(
        [
            KeyView(
                tenant=slugs.get(row.tenant_id, ""), **{name: getattr(row, name) for name in names}
            )
            for row in found
        ]
    )
