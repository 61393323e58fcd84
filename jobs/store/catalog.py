"""Queues and platforms by name: read once a second at most, because every submit and fetch asks."""

import threading
import time
from dataclasses import dataclass

from jobs.domain.errors import NotFound, UnknownPlatform, UnknownQueue
from jobs.store import postgres

_TTL_S = 1.0
DEFAULT_TENANT = 1
DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueRow:
    """A queue as the rows have it; `level` is its back-pressure (0 normal, 1 warning, 2 critical)."""

    id: int
    name: str
    tenant_id: int
    base_id: int | None
    weight: int
    capacity: int | None
    level: int
    paused: bool


class Catalog:
    """All queues at one moment."""

    def __init__(self, rows: list[QueueRow]) -> None:
        self.rows = rows
        self.by_id = {row.id: row for row in rows}
        self.by_name = {row.name: row for row in rows}
        self._own: dict[tuple[int, str], QueueRow] = {}
        for row in rows:
            self._own[row.tenant_id, row.name] = row
            if row.base_id is not None:
                self._own[row.tenant_id, self.by_id[row.base_id].name] = row

    def name(self, queue_id: int) -> str:
        row = self.by_id.get(queue_id)
        return row.name if row else f"#{queue_id}"

    def get(self, name: str) -> QueueRow:
        """Raises UnknownQueue with the names that exist."""
        row = self.by_name.get(name)
        if row is None:
            raise UnknownQueue(
                "There is no queue '%(queue)s'", queue=name, known=sorted(self.by_name)
            )
        return row

    def own(self, tenant_id: int, name: str) -> QueueRow:
        """A tenant's queue by its name in full or its base's; dead letters of all tenants share one queue.

        Raises UnknownQueue with the names of the tenant's queues.
        """
        row = self._own.get((tenant_id, name))
        if row is None and name == DEAD_LETTER:
            return self.get(name)
        if row is None:
            known = sorted(row.name for row in self.rows if row.tenant_id == tenant_id)
            raise UnknownQueue("There is no queue '%(queue)s'", queue=name, known=known)
        return row

    @property
    def dead_letter_id(self) -> int:
        return self.get(DEAD_LETTER).id


_lock = threading.Lock()
_held: tuple[float, Catalog] | None = None


def queues(*, fresh: bool = False) -> Catalog:
    """The catalogue, at most a second old."""
    global _held
    now_s = time.monotonic()
    held = _held
    if held is not None and not fresh and now_s - held[0] < _TTL_S:
        return held[1]
    with _lock:
        rows = postgres.query(
            "SELECT id, name, tenant_id, base_id, weight, capacity, level, paused FROM queue ORDER BY id"
        )
        fields = ("id", "name", "tenant_id", "base_id", "weight", "capacity", "level", "paused")
        catalog = Catalog([QueueRow(**dict(zip(fields, row, strict=True))) for row in rows])
        _held = (now_s, catalog)
        return catalog


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformRow:
    """What a submit must know of a platform; `price` (credits), if set, wins over the caller's proposal."""

    id: int
    name: str
    tenant_id: int
    time_limit_s: int
    price: int | None


_platforms: tuple[float, dict[str, PlatformRow]] | None = None


def platform(name: str, tenant_id: int = DEFAULT_TENANT) -> PlatformRow:
    """A tenant's enabled platform by name, at most a second old. Raises UnknownPlatform with the names that exist."""
    global _platforms
    asked, name = name, full_name(tenant_id, name)
    now_s = time.monotonic()
    if _platforms is None or now_s - _platforms[0] >= _TTL_S or name not in _platforms[1]:
        rows = postgres.query(
            "SELECT id, name, tenant_id, time_limit_s, price FROM platform WHERE enabled"
        )
        fields = ("id", "name", "tenant_id", "time_limit_s", "price")
        found = {r[1]: PlatformRow(**dict(zip(fields, r, strict=True))) for r in rows}
        _platforms = (now_s, found)
    row = _platforms[1].get(name)
    if row is None or row.tenant_id != tenant_id:
        known = sorted(r.name for r in _platforms[1].values() if r.tenant_id == tenant_id)
        raise UnknownPlatform("There is no platform '%(platform)s'", platform=asked, known=known)
    return row


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantRow:
    """A tenant's slug and quotas (None: none)."""

    id: int
    slug: str
    max_pending: int | None
    rate_per_s: int | None


_tenants: tuple[float, dict[int, TenantRow]] | None = None


def tenant(tenant_id: int) -> TenantRow:
    """A tenant, at most a second old. Raises NotFound."""
    global _tenants
    now_s = time.monotonic()
    if _tenants is None or now_s - _tenants[0] >= _TTL_S or tenant_id not in _tenants[1]:
        rows = postgres.query("SELECT id, slug, max_pending, rate_per_s FROM tenant")
        fields = ("id", "slug", "max_pending", "rate_per_s")
        _tenants = (now_s, {r[0]: TenantRow(**dict(zip(fields, r, strict=True))) for r in rows})
    row = _tenants[1].get(tenant_id)
    if row is None:
        raise NotFound("There is no such tenant", tenant=tenant_id)
    return row


def full_name(tenant_id: int, name: str) -> str:
    """The name under which a tenant's queue or platform is stored; the default tenant's have no prefix."""
    if tenant_id == DEFAULT_TENANT:
        return name
    prefix = f"{tenant(tenant_id).slug}:"
    return name if name.startswith(prefix) else prefix + name


def forget() -> None:
    """Read anew at the next question (after a change in this process, and between tests)."""
    global _held, _platforms, _tenants
    _held = _platforms = _tenants = None
