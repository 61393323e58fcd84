"""Queues and platforms by name: read once a second at most, because every submit and fetch asks."""

import threading
import time
from dataclasses import dataclass

from jobs.domain.errors import UnknownPlatform, UnknownQueue
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

    def name(self, queue_id: int) -> str:
        row = self.by_id.get(queue_id)
        return row.name if row else f"#{queue_id}"

    def get(self, name: str) -> QueueRow:
        """Raises UnknownQueue with the names that exist."""
        row = self.by_name.get(name)
        if row is None:
            raise UnknownQueue(
                f"There is no queue {name!r}", queue=name, known=sorted(self.by_name)
            )
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
    time_limit_s: int
    price: int | None


_platforms: tuple[float, dict[str, PlatformRow]] | None = None


def platform(name: str) -> PlatformRow:
    """An enabled platform by name, at most a second old. Raises UnknownPlatform with the names that exist."""
    global _platforms
    now_s = time.monotonic()
    if _platforms is None or now_s - _platforms[0] >= _TTL_S or name not in _platforms[1]:
        rows = postgres.query("SELECT id, name, time_limit_s, price FROM platform WHERE enabled")
        found = {r[1]: PlatformRow(id=r[0], name=r[1], time_limit_s=r[2], price=r[3]) for r in rows}
        _platforms = (now_s, found)
    row = _platforms[1].get(name)
    if row is None:
        known = sorted(_platforms[1])
        raise UnknownPlatform(f"There is no platform {name!r}", platform=name, known=known)
    return row


def forget() -> None:
    """Read anew at the next question (after a change in this process, and between tests)."""
    global _held, _platforms
    _held = _platforms = None
