"""Rates from two readings of the counters, kept in this process: no history is stored for them."""

import threading
import time
from collections import deque

import msgspec

from jobs.selectors import queues
from jobs.store import metrics

_KEPT_S = 3700.0
_GAP_S = 4.0


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Counted over `span_s` seconds: less than asked for while this process is young."""

    processed: int
    failed: int
    submitted: int
    per_s: float
    span_s: float


Reading = tuple[float, int, int, int]

_lock = threading.Lock()
_readings: deque[Reading] = deque()


def read(now_s: float | None = None) -> Reading:
    """Read the counters now and keep the reading (at most one every few seconds)."""
    counted = list(queues.counts().values())
    totals = [
        sum(c.get(metric, 0) for c in counted)
        for metric in (metrics.PROCESSED, metrics.FAILED, metrics.SUBMITTED)
    ]
    reading = (time.monotonic() if now_s is None else now_s, totals[0], totals[1], totals[2])
    with _lock:
        if not _readings or reading[0] - _readings[-1][0] >= _GAP_S:
            _readings.append(reading)
        while reading[0] - _readings[0][0] > _KEPT_S:
            _readings.popleft()
    return reading


def over(span_s: float, now: Reading) -> Rate:
    """What happened within the last `span_s` seconds before `now`."""
    with _lock:
        since = next((r for r in _readings if now[0] - r[0] <= span_s), now)
    took_s = now[0] - since[0]
    processed = max(0, now[1] - since[1])
    return Rate(
        processed=processed,
        failed=max(0, now[2] - since[2]),
        submitted=max(0, now[3] - since[3]),
        per_s=round(processed / took_s, 3) if took_s > 0 else 0.0,
        span_s=round(took_s, 1),
    )


def forget() -> None:
    with _lock:
        _readings.clear()
