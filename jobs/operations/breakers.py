"""Circuit breakers on two levels: a platform's and its service instance's; one row each, shared by all workers.

The rules are pure and live in lifecycle.breaker. A request needs leave of both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import structlog
from django.db import transaction

from jobs.domain.errors import Invalid
from jobs.lifecycle import breaker as rules
from jobs.lifecycle.breaker import Breaker, BreakerState, full_name, name_of
from jobs.operations import platforms
from jobs.store import breakers as rows
from jobs.store import postgres

log = structlog.get_logger("breakers")


class Heard(Enum):
    """What a request brought: a valid answer, a refusal by a living service (429, 401 …), or nothing usable.

    KEPT: it never left, for our guard or our client would not send it; the service is not to blame.
    """

    GOOD = "good"
    REFUSED = "refused"
    NOTHING = "nothing"
    KEPT = "kept"


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """`allowed` requests may go now, the others may ask again in `wait_s`. `closed`: nothing was counted.

    `idle`: closed, and without a failure on record.
    """

    platform: str
    service: str
    allowed: int
    wait_s: float
    started_at_s: float
    closed: bool
    idle: bool = False


def admit(platform: str, service: str, wanted: int) -> Admission:
    """Ask the platform's breaker and the one called `service` for `wanted` requests.

    Closed ones cost one read; open and half-open ones are locked, so that all workers share their probes.
    """
    names = (name_of(platform), service)
    found, now_s = rows.read(names)
    if all(b.state is BreakerState.CLOSED and b.forced is None for b in found.values()):
        idle = all(b == Breaker() for b in found.values())
        return _admission(names, wanted, 0.0, now_s, closed=True, idle=idle)
    allowed = 0

    def take(found: dict[str, Breaker], now_s: float) -> dict[str, Breaker]:
        nonlocal allowed
        for _ in range(wanted):
            asked = {name: rules.allow(b, now_s) for name, b in found.items()}
            if not all(yes for _, yes in asked.values()):
                return {
                    name: rules.give_back(b, 1, started_at_s=now_s) if yes else b
                    for name, (b, yes) in asked.items()
                }
            found = {name: b for name, (b, _) in asked.items()}
            allowed += 1
        return found

    after, now_s = _change(names, take)
    wait_s = max(rules.wait_s(b, now_s) for b in after.values())
    return _admission(names, allowed, wait_s, now_s, closed=False)


def _admission(
    names: Sequence[str],
    allowed: int,
    wait_s: float,
    now_s: float,
    *,
    closed: bool,
    idle: bool = False,
) -> Admission:
    return Admission(
        platform=names[0],
        service=names[1],
        allowed=allowed,
        wait_s=wait_s,
        started_at_s=now_s,
        closed=closed,
        idle=idle,
    )


def record(admission: Admission, heard: Sequence[Heard], *, unused: int = 0) -> bool:
    """What became of the requests admitted, in their order; `unused` ones never left.

    Good answers through idle breakers change nothing and cost nothing. Returns whether one of them is open now.
    """
    if all(h is Heard.GOOD for h in heard) and (admission.idle or not (heard or unused)):
        return False
    names = (admission.platform, admission.service)
    started_s = admission.started_at_s

    def apply(found: dict[str, Breaker], now_s: float) -> dict[str, Breaker]:
        after = {}
        for name, b in found.items():
            if unused:
                b = rules.give_back(b, unused, started_at_s=started_s)
            for one in heard:
                b = _heard(b, one, now_s, started_s, service=name == admission.service)
            after[name] = b
        return after

    after, _ = _change(names, apply)
    return any(b.state is BreakerState.OPEN for b in after.values())


def _heard(b: Breaker, one: Heard, now_s: float, started_s: float, *, service: bool) -> Breaker:
    if service and one is Heard.KEPT:
        return rules.give_back(b, 1, started_at_s=started_s)
    ok = one is Heard.GOOD or (service and one is Heard.REFUSED)
    return rules.record(b, ok, now_s, started_at_s=started_s)


def force(
    name: str, state: str, *, until_s: float | None = None, by: str = "", reason: str = ""
) -> None:
    """Hold a breaker OPEN or CLOSED for `until_s` seconds (None: until released). Raises Invalid.

    `name`: a platform's, or a breaker's in full (`service:api.example.com`). `by`, `reason`: who and why,
    for those who wait.
    """
    if state not in (BreakerState.OPEN, BreakerState.CLOSED):
        raise Invalid("A breaker is forced OPEN or CLOSED", given=state)
    wanted, full = BreakerState(state), full_name(name)

    def apply(b: Breaker, now_s: float) -> Breaker:
        return rules.force(b, wanted, now_s, until_s=None if until_s is None else now_s + until_s)

    with transaction.atomic():
        _change_one(full, apply)
        postgres.query(
            "UPDATE breaker SET forced_at = clock_timestamp(), forced_by = %s, forced_reason = %s"
            " WHERE name = %s RETURNING 1",
            [by, reason, full],
        )
        if wanted is BreakerState.CLOSED:
            platforms.poll_soon(platforms.behind(full))


def release(name: str) -> None:
    """End a force; what was put off until its end is polled soon."""
    full = full_name(name)
    with transaction.atomic():
        _change_one(full, rules.release)
        platforms.poll_soon(platforms.behind(full))


Decide = Callable[[dict[str, Breaker], float], dict[str, Breaker]]


def _change_one(name: str, decide: Callable[[Breaker, float], Breaker]) -> None:
    _change([name], lambda found, now_s: {name: decide(found[name], now_s)})


def _change(names: Sequence[str], decide: Decide) -> tuple[dict[str, Breaker], float]:
    """Decide under the rows' locks, taken in the order of their names; changes of state are logged."""
    with transaction.atomic():
        postgres.query(
            "INSERT INTO breaker (name, state, failures, probes, successes, updated_at)"
            " SELECT n, 'CLOSED', 0, 0, 0, now() FROM unnest(%s::text[]) n ORDER BY n"
            " ON CONFLICT (name) DO NOTHING RETURNING 1",
            [list(names)],
        )
        before, now_s = rows.read(names, lock=True)
        after = decide(before, now_s)
        for name in sorted(names):
            if after[name] != before[name]:
                _write(name, after[name])
    for name in names:
        line = rules.log_line(name.partition(":")[2], before[name], after[name])
        if line:
            log.warning(line, breaker=name)
    return after, now_s


def _write(name: str, b: Breaker) -> None:
    postgres.query(
        "UPDATE breaker SET state = %s, failures = %s, opened_at = to_timestamp(%s), probes = %s, successes = %s,"
        " forced = %s, forced_until = to_timestamp(%s), updated_at = clock_timestamp() WHERE name = %s RETURNING 1",
        [
            b.state.value,
            b.failures,
            b.opened_at_s,
            b.probes,
            b.successes,
            b.forced.value if b.forced else None,
            b.forced_until_s,
            name,
        ],
    )
