"""Rate limits of keys and tenants: token buckets in this process, so that a limit costs no round trip.

Each web process gets its share of the limit (`WEB_WORKERS` of them on a host); several hosts add up.
"""

import math
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from jobs.domain.errors import NotFound, RateLimited
from jobs.operations.keys import Caller
from jobs.store import catalog

_KEPT = 4096
_BURST_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What is left of a limit. `reset_s`: until the bucket is full again; `wait_s`: until one may come."""

    limit: int
    remaining: int
    reset_s: float
    wait_s: float

    @property
    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(math.ceil(self.reset_s)),
        }


class Bucket:
    """Holds up to `burst` requests, refilled with `rate_per_s`."""

    def __init__(self, rate_per_s: float, now_s: float) -> None:
        self.rate_per_s = rate_per_s
        self.burst = max(1.0, rate_per_s * _BURST_S)
        self._left = self.burst
        self._at_s = now_s

    def take(self, now_s: float) -> Share:
        """Use one request up if there is one."""
        self._left = min(self.burst, self._left + max(0.0, now_s - self._at_s) * self.rate_per_s)
        self._at_s = now_s
        wait_s = 0.0
        if self._left >= 1:
            self._left -= 1
        else:
            wait_s = (1 - self._left) / self.rate_per_s
        return Share(
            limit=int(self.burst),
            remaining=int(self._left),
            reset_s=(self.burst - self._left) / self.rate_per_s,
            wait_s=wait_s,
        )


_lock = threading.Lock()
_buckets: OrderedDict[str, Bucket] = OrderedDict()


def take(caller: Caller) -> Share | None:
    """One request of this key and of its tenant; the tighter of both limits is told. None: there is no limit."""
    now_s = time.monotonic()
    shares = [
        _take(name, rate, now_s)
        for name, rate in (
            (f"key:{caller.key_id}", float(settings.TASKCENTER["RATE_PER_KEY"])),
            (f"tenant:{caller.tenant_id}", _tenant_rate(caller.tenant_id)),
        )
        if rate > 0
    ]
    return min(shares, key=lambda share: (-share.wait_s, share.remaining), default=None)


def refuse_if_over(share: Share | None) -> None:
    """Raises RateLimited."""
    if share is not None and share.wait_s > 0:
        raise RateLimited(retry_after_s=max(1, math.ceil(share.wait_s)))


def forget() -> None:
    with _lock:
        _buckets.clear()


def _tenant_rate(tenant_id: int) -> float:
    """Requests a second of all its keys; the default tenant has no quotas, and none are known without PostgreSQL."""
    if tenant_id == catalog.DEFAULT_TENANT:
        return 0.0
    try:
        return float(catalog.tenant(tenant_id).rate_per_s or 0)
    except (DatabaseError, InterfaceError, NotFound):
        return 0.0


def _take(name: str, rate_per_s: float, now_s: float) -> Share:
    share_per_s = rate_per_s / settings.TASKCENTER["WEB_WORKERS"]
    with _lock:
        bucket = _buckets.get(name)
        if bucket is None or bucket.rate_per_s != share_per_s:
            bucket = _buckets[name] = Bucket(share_per_s, now_s)
        _buckets.move_to_end(name)
        while len(_buckets) > _KEPT:
            _buckets.popitem(last=False)
        return bucket.take(now_s)
