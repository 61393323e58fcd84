"""Tenants with their quotas and queues."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from jobs.domain.errors import NotFound
from jobs.domain.states import State
from jobs.models import Queue, Tenant
from jobs.selectors.paging import Page, whole
from jobs.store import postgres


class TenantView(msgspec.Struct, frozen=True, kw_only=True):
    """`max_pending`: most tasks that may wait; `max_active`: that may run at once; `rate_per_s`: requests.

    The rate is that of all its keys together; null: no quota. `waiting`, `active`: its tasks by the counters.
    `paused_at`: since when the operator holds all its queues.
    """

    slug: str
    name: str
    max_pending: int | None
    max_active: int | None
    rate_per_s: int | None
    waiting: int
    active: int
    paused_at: datetime | None
    paused_by: str
    paused_reason: str
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


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks of a tenant by the counters; its dead letters are not among them."""

    pending: int = 0
    active: int = 0
    waiting: int = 0
    queues: int = 0
    paused: int = 0


def loads(tenant_ids: Iterable[int]) -> dict[int, Load]:
    """Tenant id → what it has there now; `waiting`: scheduled, in retry or for others, beside `pending`."""
    waiting = (State.SCHEDULED, State.RETRY, State.AGGREGATING)
    rows = postgres.fetch(
        "tenant_load",
        {
            "ids": sorted(set(tenant_ids)),
            "pending": int(State.PENDING),
            "active": int(State.ACTIVE),
            "states": [int(s) for s in (State.PENDING, State.ACTIVE, *waiting)],
        },
    )
    names = ("queues", "paused", "pending", "active", "waiting")
    return {row[0]: Load(**dict(zip(names, row[1:], strict=True))) for row in rows}


def slugs(tenant_ids: Iterable[int]) -> dict[int, str]:
    """Tenant id → slug, of those asked for."""
    found = Tenant.objects.filter(pk__in=set(tenant_ids)).values_list("id", "slug")
    return dict(found)


def _views(rows: list[Tenant]) -> list[TenantView]:
    names: dict[int, list[str]] = {}
    for queue in Queue.objects.filter(
        removed=False, tenant_id__in=[row.pk for row in rows]
    ).order_by("id"):
        names.setdefault(queue.tenant_id, []).append(queue.name)
    now = loads(row.pk for row in rows)
    return [
        TenantView(
            slug=row.slug,
            name=row.name,
            max_pending=row.max_pending,
            max_active=row.max_active,
            rate_per_s=row.rate_per_s,
            waiting=now[row.pk].pending + now[row.pk].waiting if row.pk in now else 0,
            active=now[row.pk].active if row.pk in now else 0,
            paused_at=row.paused_at,
            paused_by=row.paused_by,
            paused_reason=row.paused_reason,
            queues=names.get(row.pk, []),
            created_at=row.created_at,
        )
        for row in rows
    ]
