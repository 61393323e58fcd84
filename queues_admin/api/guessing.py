"""Guessing of keys is limited per address: so many wrong keys a minute, counted in Redis for all web processes.

While Redis is away each process counts for itself.
"""

import ipaddress
import threading
import time
from collections import OrderedDict

from jobs.domain.errors import RateLimited, RedisUnavailable
from jobs.store import windows

MOST = 20
WINDOW_S = 60
_KEPT = 10_000
_REDIS_AWAY_S = 5.0

_lock = threading.Lock()
_counted: OrderedDict[str, tuple[int, float]] = (
    OrderedDict()
)  # address -> (failures, end of window)
_redis_from_s = 0.0


def refuse_if_blocked(address: str) -> None:
    """Raises RateLimited."""
    count, until_s = _counted.get(_group(address), (0, 0.0))
    left_s = until_s - time.monotonic()
    if count > MOST and left_s > 0:
        raise RateLimited(retry_after_s=max(1, round(left_s)))


def failed(address: str) -> None:
    """Count a wrong key. Raises RateLimited for one too many."""
    group, now_s = _group(address), time.monotonic()
    shared = _count_in_redis(group, now_s)
    with _lock:
        count, until_s = _counted.pop(group, (0, 0.0))
        if until_s <= now_s:
            count, until_s = 0, now_s + WINDOW_S
        count += 1
        if shared is not None and shared[0] >= count:
            count, until_s = shared[0], now_s + shared[1]
        _counted[group] = (count, until_s)
        while len(_counted) > _KEPT:
            _counted.popitem(last=False)
    refuse_if_blocked(address)


def forget() -> None:
    global _redis_from_s
    with _lock:
        _counted.clear()
    _redis_from_s = 0.0


def _count_in_redis(group: str, now_s: float) -> tuple[int, float] | None:
    """(failures in the window, seconds left of it); None while Redis is away."""
    global _redis_from_s
    if now_s < _redis_from_s:
        return None
    try:
        return windows.count_within(f"tc:guess:{group}", WINDOW_S)
    except RedisUnavailable:
        _redis_from_s = now_s + _REDIS_AWAY_S
        return None


def _group(address: str) -> str:
    """Whoever has one IPv6 address has its /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
