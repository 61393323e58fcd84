"""A circuit breaker as an immutable value: callers keep it where all workers see it."""

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from jobs.contract.reader import contract
from jobs.contract.shapes import BreakerRules


class BreakerState(StrEnum):
    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


@dataclass(frozen=True, kw_only=True, slots=True)
class Breaker:
    """`opened_at_s`: when it opened, or in HALF_OPEN when the present window of probes began.

    `probes` were let through in this window, `successes` came back well. `forced` holds it OPEN or
    CLOSED until `forced_until_s` (None: until released).
    """

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    opened_at_s: float | None = None
    probes: int = 0
    successes: int = 0
    forced: BreakerState | None = None
    forced_until_s: float | None = None


def allow(b: Breaker, now_s: float, rules: BreakerRules | None = None) -> tuple[Breaker, bool]:
    """Whether a request may go out now; in HALF_OPEN a yes takes one of the probes."""
    rules = rules or contract().breaker
    b = _tick(b, now_s, rules)
    if b.state is BreakerState.CLOSED:
        return b, True
    if b.state is BreakerState.OPEN or b.probes >= rules.probes:
        return b, False
    return replace(b, probes=b.probes + 1), True


def record(
    b: Breaker,
    ok: bool,
    now_s: float,
    *,
    started_at_s: float | None = None,
    rules: BreakerRules | None = None,
) -> Breaker:
    """What became of a request. One that started before the present window is no probe of it."""
    rules = rules or contract().breaker
    b = _tick(b, now_s, rules)
    if b.forced is not None or b.state is BreakerState.OPEN:
        return b
    if b.state is BreakerState.CLOSED:
        failures = 0 if ok else b.failures + 1
        return (
            _open(b, failures, now_s)
            if failures >= rules.failures
            else replace(b, failures=failures)
        )
    if b.probes <= b.successes or _older(started_at_s, b.opened_at_s):
        return b
    if not ok:
        return _open(b, b.failures, now_s)
    successes = b.successes + 1
    return Breaker() if successes >= rules.successes else replace(b, successes=successes)


def give_back(b: Breaker, count: int, *, started_at_s: float) -> Breaker:
    """Probes that were taken but not sent may be taken again, if their window is still the present one."""
    if b.state is not BreakerState.HALF_OPEN or _older(started_at_s, b.opened_at_s):
        return b
    return replace(b, probes=max(b.successes, b.probes - count))


def force(
    b: Breaker, state: BreakerState, now_s: float, *, until_s: float | None = None
) -> Breaker:
    """Hold it OPEN or CLOSED, whatever is recorded. Raises ValueError for HALF_OPEN."""
    if state is BreakerState.HALF_OPEN:
        raise ValueError("a breaker is forced OPEN or CLOSED")
    opened_at_s = now_s if state is BreakerState.OPEN else None
    return Breaker(state=state, opened_at_s=opened_at_s, forced=state, forced_until_s=until_s)


def release(b: Breaker, now_s: float) -> Breaker:
    """End a force: from OPEN by way of probes, from CLOSED with a clean slate."""
    if b.forced is None:
        return b
    return Breaker() if b.forced is BreakerState.CLOSED else _half_open(b, now_s)


def in_force(b: Breaker, now_s: float) -> Breaker:
    """The breaker as it is obeyed and shown: a force whose time is over is none any more."""
    ended = b.forced is not None and b.forced_until_s is not None and now_s >= b.forced_until_s
    return release(b, now_s) if ended else b


def wait_s(b: Breaker, now_s: float, rules: BreakerRules | None = None) -> float:
    """Seconds until it is worth asking `allow` again; 0 when it is now."""
    rules = rules or contract().breaker
    b = _tick(b, now_s, rules)
    if b.state is BreakerState.CLOSED or (
        b.state is BreakerState.HALF_OPEN and b.probes < rules.probes
    ):
        return 0.0
    if b.forced is BreakerState.OPEN:
        return rules.open_s if b.forced_until_s is None else max(b.forced_until_s - now_s, 0.0)
    lasts_s = rules.open_s if b.state is BreakerState.OPEN else rules.probe_timeout_s
    began_s = now_s if b.opened_at_s is None else b.opened_at_s
    return max(began_s + lasts_s - now_s, 0.0)


def log_line(name: str, before: Breaker, after: Breaker) -> str | None:
    """The guide's line for a change of state, None when there was none."""
    if before.state is after.state:
        return None
    line = f"[CircuitBreaker] {name}: {before.state} -> {after.state}"
    if before.state is BreakerState.CLOSED and after.state is BreakerState.OPEN:
        line += " (forced)" if after.forced else f" (failures={after.failures})"
    return line


def name_of(platform: str) -> str:
    """A platform's breaker. A tenant may be called `service`: its platforms' names are taken for no breaker's."""
    return f"platform:{platform}"


def full_name(name: str) -> str:
    """A breaker by its name in full, or by its platform's."""
    return name if name.startswith(("platform:", "service:")) else name_of(name)


def is_houses(name: str) -> bool:
    """Whether a breaker, by its name in full, is of the default tenant's platforms."""
    kind, _, rest = name.partition(":")
    return ("@" if kind == "service" else ":") not in rest


def service_name(base_url: str, tenant: str = "") -> str:
    """The breaker of the service instance behind a URL: its host, and its port if it has one of its own.

    `tenant`: the slug of the tenant whose platform it is; what one tenant hears of a host holds up no other.
    By hand: an address that no URL could be must not fail for all who list breakers.
    """
    authority = re.split(r"[/?#]", base_url.partition("://")[2], maxsplit=1)[0]
    # No host holds an @, so that no tenant's address is taken for another's breaker.
    return f"service:{tenant}{'@' if tenant else ''}{authority.rpartition('@')[2].lower()}"


def _tick(b: Breaker, now_s: float, rules: BreakerRules) -> Breaker:
    """What time alone changes: a force ends, OPEN becomes HALF_OPEN, lost probes are replaced."""
    b = in_force(b, now_s)
    if b.forced is not None or b.opened_at_s is None:
        return b
    age_s = now_s - b.opened_at_s
    if b.state is BreakerState.OPEN and age_s >= rules.open_s:
        return _half_open(b, now_s)
    if b.state is BreakerState.HALF_OPEN and b.probes and age_s >= rules.probe_timeout_s:
        return _half_open(b, now_s)
    return b


def _open(b: Breaker, failures: int, now_s: float) -> Breaker:
    return Breaker(state=BreakerState.OPEN, failures=failures, opened_at_s=now_s)


def _half_open(b: Breaker, now_s: float) -> Breaker:
    return Breaker(state=BreakerState.HALF_OPEN, failures=b.failures, opened_at_s=now_s)


def _older(started_at_s: float | None, window_s: float | None) -> bool:
    return started_at_s is not None and window_s is not None and started_at_s < window_s
