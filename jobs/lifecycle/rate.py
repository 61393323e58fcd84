"""A request rate as an immutable value (a token bucket by times): callers keep it where all workers see it."""

from dataclasses import dataclass

BURST_S = 0.5
PROMISE_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """`next_s`: when the next request is due. `promised_s`: up to when times were given to those who wait."""

    next_s: float = 0.0
    promised_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """How many requests may go now, and for each of the others the seconds until its time."""

    allowed: int
    waits_s: list[float]


def take(gate: Gate, wanted: int, rate_per_s: float, now_s: float) -> tuple[Gate, Taken]:
    """Half a second's worth (at least one) may go at once after a rest; the others get times one after another.

    Without own times all who were refused would come back together. No time lies more than a minute ahead.
    """
    burst_s = max(1.0, rate_per_s * BURST_S) / rate_per_s
    due_s = max(gate.next_s, now_s - burst_s)
    allowed = max(0, min(wanted, int((now_s - due_s) * rate_per_s + 1e-6)))
    next_s = due_s + allowed / rate_per_s
    begin_s = max(gate.promised_s, next_s, now_s)
    latest_s = now_s + PROMISE_S
    times = [begin_s + n / rate_per_s for n in range(1, wanted - allowed + 1)]
    promised_s = min(times[-1], latest_s) if times else gate.promised_s
    waits_s = [min(at_s, latest_s) - now_s for at_s in times]
    return Gate(next_s=next_s, promised_s=promised_s), Taken(allowed=allowed, waits_s=waits_s)
