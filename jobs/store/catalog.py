"""Queues, platforms and tenants by name, at most a second old, because every submit and fetch asks.

Queues are read as a whole, but only after a change (`control.queues`, set by a trigger); back-pressure levels each
second; platforms and tenants one by one, as they are asked for.
"""

import threading
import time
from dataclasses import dataclass, replace

from jobs.domain.errors import NotFound, UnknownPlatform, UnknownQueue
from jobs.store import postgres
from jobs.store.kept import Kept

_TTL_S = 1.0
_KNOWN_SHOWN = 100
DEFAULT_TENANT = 1
DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueRow:
    """A queue as the rows have it; `level` is its back-pressure (0 normal, 1 warning, 2 critical).

    `paused`: itself, or with its tenant.
    """

    id: int
    name: str
    tenant_id: int
    base_id: int | None
    weight: int
    capacity: int | None
    level: int
    paused: bool
    concurrency: int | None = None
    removed: bool = False


class Catalog:
    """All queues at one moment. Removed ones are known by their id alone, for the tasks that name them."""

    def __init__(self, rows: list[QueueRow]) -> None:
        self.by_id = {row.id: row for row in rows}
        self.rows = [row for row in rows if not row.removed]
        self.by_name = {row.name: row for row in self.rows}
        self.bases = [row for row in self.rows if row.base_id is None]
        self.limited = [row for row in self.rows if row.concurrency is not None]
        self._own: dict[tuple[int, str], QueueRow] = {}
        self._removed: dict[tuple[int, str], QueueRow] = {}
        for row in rows:
            names = self._removed if row.removed else self._own
            names[row.tenant_id, row.name] = row
            if row.base_id is not None:
                names[row.tenant_id, self.by_id[row.base_id].name] = row

    def name(self, queue_id: int) -> str:
        row = self.by_id.get(queue_id)
        return row.name if row else f"#{queue_id}"

    def base(self, row: QueueRow) -> QueueRow:
        """The contract's queue whose weight this one shares (itself, if it is one)."""
        return row if row.base_id is None else self.by_id[row.base_id]

    def get(self, name: str) -> QueueRow:
        """Raises UnknownQueue with the names of the contract's queues."""
        row = self.by_name.get(name)
        if row is None:
            known = sorted(row.name for row in self.bases)
            raise UnknownQueue("There is no queue '%(queue)s'", queue=name, known=known)
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

    def removed(self, tenant_id: int, name: str) -> QueueRow | None:
        """A deleted queue that a submit under this name brings back."""
        if (tenant_id, name) in self._own:
            return None
        return self._removed.get((tenant_id, name))

    @property
    def dead_letter_id(self) -> int:
        return self.get(DEAD_LETTER).id


@dataclass(frozen=True, slots=True)
class _Held:
    """`plain`: the rows without levels, under `version`; `catalog`: with the levels of a moment ago."""

    read_s: float
    version: int
    plain: list[QueueRow]
    levels: dict[int, int]
    catalog: Catalog


_lock = threading.Lock()
_held: _Held | None = None
_NOW = (
    "SELECT queues, (SELECT array_agg(id) FROM queue WHERE level > 0),"
    " (SELECT array_agg(level) FROM queue WHERE level > 0) FROM control WHERE id = 1"
)
_COLUMNS: tuple[str, ...] = (
    "id",
    "name",
    "tenant_id",
    "base_id",
    "weight",
    "capacity",
    "paused OR tenant_paused AS paused",
    "concurrency",
)
_COLUMNS += ("removed",)
_FIELDS = tuple(column.rpartition(" ")[2] for column in _COLUMNS)


def queues(*, fresh: bool = False) -> Catalog:
    """The catalogue, at most a second old."""
    held = _held
    if held is not None and not fresh and time.monotonic() - held.read_s < _TTL_S:
        return held.catalog
    with _lock:
        return _look(_held).catalog


def _look(before: _Held | None) -> _Held:
    """Read what changed: nothing but two figures, as a rule."""
    global _held
    now_s = time.monotonic()
    [(version, ids, levels)] = postgres.query(_NOW)
    pressed = dict(zip(ids or (), levels or (), strict=True))
    if before is None or before.version != version:
        rows = postgres.query(f"SELECT {', '.join(_COLUMNS)} FROM queue ORDER BY id")
        plain = [QueueRow(**dict(zip(_FIELDS, row, strict=True)), level=0) for row in rows]
    elif before.levels == pressed:
        _held = replace(before, read_s=now_s)
        return _held
    else:
        plain = before.plain
    rows_now = [replace(r, level=pressed[r.id]) if r.id in pressed else r for r in plain]
    _held = _Held(now_s, version, plain, pressed, Catalog(rows_now))
    return _held


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformRow:
    """What a submit must know of a platform; `price` (credits), if set, wins over the caller's proposal."""

    id: int
    name: str
    tenant_id: int
    time_limit_s: int
    price: int | None


def _ask_platform(name: str) -> PlatformRow | None:
    fields = ("id", "name", "tenant_id", "time_limit_s", "price")
    rows = postgres.query(
        f"SELECT {', '.join(fields)} FROM platform WHERE enabled AND name = %s", [name]
    )
    return PlatformRow(**dict(zip(fields, rows[0], strict=True))) if rows else None


_platforms = Kept(_ask_platform)


def platform(name: str, tenant_id: int = DEFAULT_TENANT) -> PlatformRow:
    """A tenant's enabled platform by name, at most a second old. Raises UnknownPlatform with the names that exist."""
    asked, name = name, full_name(tenant_id, name)
    row = _platforms.get(name)
    if row is None or row.tenant_id != tenant_id:
        known = postgres.query(
            "SELECT name FROM platform WHERE enabled AND tenant_id = %s ORDER BY name LIMIT %s",
            [tenant_id, _KNOWN_SHOWN],
        )
        raise UnknownPlatform(
            "There is no platform '%(platform)s'", platform=asked, known=[row[0] for row in known]
        )
    return row


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantRow:
    """A tenant's slug and quotas (None: none)."""

    id: int
    slug: str
    max_pending: int | None
    rate_per_s: int | None


def _ask_tenant(tenant_id: int) -> TenantRow | None:
    fields = ("id", "slug", "max_pending", "rate_per_s")
    rows = postgres.query(f"SELECT {', '.join(fields)} FROM tenant WHERE id = %s", [tenant_id])
    return TenantRow(**dict(zip(fields, rows[0], strict=True))) if rows else None


_tenants = Kept(_ask_tenant)


def tenant(tenant_id: int) -> TenantRow:
    """A tenant, at most a second old. Raises NotFound."""
    row = _tenants.get(tenant_id)
    if row is None:
        raise NotFound("There is no such tenant", tenant=tenant_id)
    return row


def full_name(tenant_id: int, name: str) -> str:
    """The name under which a tenant's queue or platform is stored; the default tenant's have no prefix."""
    if tenant_id == DEFAULT_TENANT:
        return name
    prefix = f"{tenant(tenant_id).slug}:"
    return name if name.startswith(prefix) else prefix + name


def owner(tenant_id: int, name: str) -> str:
    """The slug of the tenant that a queue or platform of this full name belongs to; empty for the default tenant's."""
    return "" if tenant_id == DEFAULT_TENANT else name.partition(":")[0]


def stale() -> None:
    """Look for changes at the next question (somebody says that there were some)."""
    global _held
    if _held is not None:
        _held = replace(_held, read_s=-_TTL_S)
    _platforms.held.clear()
    _tenants.held.clear()


def forget() -> None:
    """Read everything anew at the next question (tests, after a fork)."""
    global _held
    _held = None
    stale()
