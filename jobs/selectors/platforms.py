"""Platforms, each with its two circuit breakers; credentials are never read here."""

from datetime import datetime
from typing import Any

import msgspec
from django.db.models import QuerySet

from jobs.domain.errors import NotFound
from jobs.lifecycle.breaker import name_of, service_name
from jobs.models import Platform
from jobs.selectors import breakers
from jobs.selectors.breakers import BreakerView
from jobs.selectors.masking import masked
from jobs.selectors.paging import Page, whole
from jobs.store import catalog


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
    names = [name for row in rows for name in _names(row)]
    known = breakers.views(names, staff=_staff(tenant_id))
    return whole([_view(row, known) for row in rows])


def get(name: str, tenant_id: int | None = catalog.DEFAULT_TENANT) -> PlatformView:
    """By its name, which a tenant need not say in full. Raises NotFound, also for another tenant's.

    `tenant_id=None`: any tenant's, by its name in full.
    """
    full = name if tenant_id is None else catalog.full_name(tenant_id, name)
    row = _of(tenant_id).filter(name=full).first()
    if row is None:
        raise NotFound("There is no such platform", platform=name)
    return _view(row, breakers.views(_names(row), staff=_staff(tenant_id)))


def _of(tenant_id: int | None) -> "QuerySet[Platform]":
    if tenant_id is None:
        return Platform.objects.all()
    return Platform.objects.filter(tenant_id=tenant_id)


def _staff(tenant_id: int | None) -> bool:
    return tenant_id in (None, catalog.DEFAULT_TENANT)


def _names(row: Platform) -> tuple[str, str]:
    owner = catalog.owner(row.tenant_id, row.name)
    return name_of(row.name), service_name(row.base_url, owner)


def _view(row: Platform, known: dict[str, BreakerView]) -> PlatformView:
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
        breaker=known[own],
        service_breaker=known[service],
    )
