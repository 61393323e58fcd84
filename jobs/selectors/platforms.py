"""Platforms and circuit breakers; credentials are never read here."""

from datetime import datetime
from typing import Any

import msgspec
from django.db.models import QuerySet

from jobs.domain.errors import NotFound
from jobs.lifecycle.breaker import name_of, service_name
from jobs.models import Breaker, Platform
from jobs.selectors.masking import masked
from jobs.selectors.paging import Page, whole
from jobs.store import catalog


class BreakerView(msgspec.Struct, frozen=True, kw_only=True):
    """`forced` is `OPEN` or `CLOSED` while an operator holds it there."""

    name: str
    state: str
    failures: int
    successes: int
    opened_at: datetime | None
    forced: str | None
    forced_until: datetime | None
    updated_at: datetime | None


class PlatformView(msgspec.Struct, frozen=True, kw_only=True):
    """`has_credential`, `has_webhook_secret`: whether one is stored; nothing shows it again.

    A request needs leave of both breakers: the platform's and that of the service instance behind `base_url`.
    """

    name: str
    protocol: str
    base_url: str
    has_credential: bool
    has_webhook_secret: bool
    profile: str
    time_limit: int
    allow_private: bool
    max_concurrency: int | None
    rate_per_s: float | None
    price: int | None
    options: dict[str, Any]
    enabled: bool
    created_at: datetime
    breaker: BreakerView
    service_breaker: BreakerView


def listing(tenant_id: int | None = catalog.DEFAULT_TENANT) -> Page[PlatformView]:
    """By name; None: of all tenants."""
    rows = list(_of(tenant_id).order_by("name")[:1000])
    known = Breaker.objects.in_bulk([name for row in rows for name in _names(row)])
    return whole([_view(row, known) for row in rows])


def get(name: str, tenant_id: int | None = catalog.DEFAULT_TENANT) -> PlatformView:
    """By its name, which a tenant need not say in full. Raises NotFound, also for another tenant's.

    `tenant_id=None`: any tenant's, by its name in full.
    """
    full = name if tenant_id is None else catalog.full_name(tenant_id, name)
    row = _of(tenant_id).filter(name=full).first()
    if row is None:
        raise NotFound("There is no such platform", platform=name)
    return _view(row, Breaker.objects.in_bulk(_names(row)))


def breakers(tenant_id: int | None = None) -> list[BreakerView]:
    """All breakers, of platforms and of service instances; of a tenant: those of its platforms."""
    rows = Breaker.objects.order_by("name")
    if tenant_id is not None:
        rows = rows.filter(name__in=_of_tenant(tenant_id))
    return [_breaker(row.name, row) for row in rows[:1000]]


def breaker(name: str, tenant_id: int | None = None) -> BreakerView:
    """One by its name in full. Raises NotFound for one that no request has asked yet, or another tenant's."""
    row = Breaker.objects.filter(name=name).first()
    if row is None or (tenant_id is not None and name not in _of_tenant(tenant_id)):
        raise NotFound("There is no such breaker", breaker=name)
    return _breaker(name, row)


def _of(tenant_id: int | None) -> "QuerySet[Platform]":
    if tenant_id is None:
        return Platform.objects.all()
    return Platform.objects.filter(tenant_id=tenant_id)


def _of_tenant(tenant_id: int) -> list[str]:
    """Service instances are shared by all tenants: their breakers are nobody's own."""
    names = Platform.objects.filter(tenant_id=tenant_id).values_list("name", flat=True)
    return [name_of(name) for name in names]


def _names(row: Platform) -> tuple[str, str]:
    return name_of(row.name), service_name(row.base_url)


def _view(row: Platform, known: dict[str, Breaker]) -> PlatformView:
    own, service = _names(row)
    return PlatformView(
        name=row.name,
        protocol=row.protocol,
        base_url=row.base_url,
        has_credential=bool(row.credential_sealed),
        has_webhook_secret=bool(row.webhook_secret_sealed),
        profile=row.profile,
        time_limit=row.time_limit_s,
        allow_private=row.allow_private,
        max_concurrency=row.max_concurrency,
        rate_per_s=row.rate_per_s,
        price=row.price,
        options=masked(row.options),
        enabled=row.enabled,
        created_at=row.created_at,
        breaker=_breaker(own, known.get(own)),
        service_breaker=_breaker(service, known.get(service)),
    )


def _breaker(name: str, row: Breaker | None) -> BreakerView:
    """A breaker nobody has used yet is closed."""
    return BreakerView(
        name=name,
        state=row.state if row else "CLOSED",
        failures=row.failures if row else 0,
        successes=row.successes if row else 0,
        opened_at=row.opened_at if row else None,
        forced=row.forced if row else None,
        forced_until=row.forced_until if row else None,
        updated_at=row.updated_at if row else None,
    )
