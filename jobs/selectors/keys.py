"""API keys without their secrets."""

from datetime import datetime

import msgspec

from jobs.models import ApiKey
from jobs.selectors.paging import Page, whole


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """`key_id` is the third part of the key, by which it is recognised."""

    key_id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


def listing(tenant_id: int = 1) -> Page[KeyView]:
    """Newest first, revoked ones too."""
    rows = ApiKey.objects.filter(tenant_id=tenant_id).order_by("-id")[:1000]
    names = KeyView.__struct_fields__
    return whole([KeyView(**{name: getattr(row, name) for name in names}) for row in rows])
