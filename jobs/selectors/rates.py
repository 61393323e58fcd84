"""Rates: the counters now less what they were at a reading within the last minute or hour."""

import msgspec

from jobs.store import metrics, postgres


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Counted over `span_s` seconds: less than asked for while the readings are young, 0 without any."""

    processed: int
    failed: int
    submitted: int
    per_s: float
    span_s: float


NOTHING = Rate(processed=0, failed=0, submitted=0, per_s=0.0, span_s=0.0)


def over(spans_s: list[float], totals: dict[int, int]) -> list[Rate]:
    """What happened within each of these spans before now; `totals`: metric → its counter now."""
    rows = postgres.fetch("rate_since", {"spans": spans_s})
    found = {row[0]: _rate(row, totals) for row in rows}
    return [found.get(span_s, NOTHING) for span_s in spans_s]


def _rate(row: postgres.Row, totals: dict[int, int]) -> Rate:
    _span_s, took_s, *then = row
    counted = (metrics.PROCESSED, metrics.FAILED, metrics.SUBMITTED)
    processed, failed, submitted = (
        max(0, totals.get(metric, 0) - before) for metric, before in zip(counted, then, strict=True)
    )
    return Rate(
        processed=processed,
        failed=failed,
        submitted=submitted,
        per_s=round(processed / took_s, 3) if took_s > 0 else 0.0,
        span_s=round(took_s, 1),
    )
