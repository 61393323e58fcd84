"""Tenants with their quotas and queues."""

from datetime import datetime

import msgspec

from jobs.domain.errors import NotFound
from jobs.models import Queue, Tenant
from jobs.selectors.paging import Page, whole


class TenantView(msgspec.Struct, frozen=True, kw_only=True):
    """`max_pending`: most tasks that may wait; `max_active`: that may run at once; `rate_per_s`: requests.

    The rate is that of all its keys together; null: no quota.
    """

    slug: str
    name: str
    max_pending: int | None
    max_active: int | None
    rate_per_s: int | None
    queues: list[str]
    created_at: datetime


def listing() -> Page[TenantView]:
    """Oldest first."""
    return whole(_views(list(Tenant.objects.order_by("id")[:1000])))


def get(slug: str) -> TenantView:
    """Raises NotFound."""
    rows = list(Tenant.objects.filter(slug=slug))
    if not rows:
        raise NotFound("There is no such tenant", tenant=slug)
    return _views(rows)[0]


def _views(rows: list[Tenant]) -> list[TenantView]:
    names: dict[int, list[str]] = {}
    for queue in Queue.objects.filter(
        removed=False, tenant_id__in=[row.pk for row in rows]
    ).order_by("id"):
        names.setdefault(queue.tenant_id, []).append(queue.name)
    return [
        TenantView(
            slug=row.slug,
            name=row.name,
            max_pending=row.max_pending,
            max_active=row.max_active,
            rate_per_s=row.rate_per_s,
            queues=names.get(row.pk, []),
            created_at=row.created_at,
        )
        for row in rows
    ]
