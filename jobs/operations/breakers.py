"""Circuit breakers: one row a breaker, shared by all workers; the rules are pure and live in lifecycle.breaker."""

from collections.abc import Callable, Sequence

import structlog
from django.db import transaction

from jobs.domain.errors import Invalid
from jobs.lifecycle import breaker as rules
from jobs.lifecycle.breaker import Breaker, BreakerState
from jobs.store import postgres

log = structlog.get_logger("breakers")


def admit(platform: str, wanted: int) -> tuple[int, float, float]:
    """How many of `wanted` requests may go out now, seconds until the others may ask again, and the time of asking.

    A closed breaker costs one read; only an open or half-open one is locked, so that all workers share its probes.
    """
    name = name_of(platform)
    state, now_s = _read(name)
    if state.state is BreakerState.CLOSED and state.forced is None:
        return wanted, 0.0, now_s
    allowed = 0

    def take(b: Breaker, now_s: float) -> Breaker:
        nonlocal allowed
        for _ in range(wanted):
            b, yes = rules.allow(b, now_s)
            allowed += yes
            if not yes:
                break
        return b

    after, now_s = _change(name, take)
    return allowed, rules.wait_s(after, now_s), now_s


def record(platform: str, answers: Sequence[bool], started_at_s: float) -> None:
    """What became of requests, in their order; True for any valid answer. An idle, closed breaker is not written."""
    if not answers:
        return
    name = name_of(platform)
    state, _ = _read(name)
    if all(answers) and state == Breaker():
        return

    def apply(b: Breaker, now_s: float) -> Breaker:
        for ok in answers:
            b = rules.record(b, ok, now_s, started_at_s=started_at_s)
        return b

    _change(name, apply)


def force(platform: str, state: str, *, until_s: float | None = None) -> None:
    """Hold a breaker OPEN or CLOSED for `until_s` seconds (None: until released). Raises Invalid."""
    if state not in (BreakerState.OPEN, BreakerState.CLOSED):
        raise Invalid("A breaker is forced OPEN or CLOSED", given=state)
    wanted = BreakerState(state)
    _change(
        name_of(platform),
        lambda b, now_s: rules.force(
            b, wanted, now_s, until_s=None if until_s is None else now_s + until_s
        ),
    )


def release(platform: str) -> None:
    """End a force."""
    _change(name_of(platform), rules.release)


def name_of(platform: str) -> str:
    return f"platform:{platform}"


_COLUMNS = (
    "state, failures, extract(epoch FROM opened_at)::float8, probes, successes, forced,"
    " extract(epoch FROM forced_until)::float8, extract(epoch FROM clock_timestamp())::float8"
)


def _read(name: str) -> tuple[Breaker, float]:
    rows = postgres.query(f"SELECT {_COLUMNS} FROM breaker WHERE name = %s", [name])
    return _of(rows)


def _of(rows: list[postgres.Row]) -> tuple[Breaker, float]:
    if not rows:
        [(now_s,)] = postgres.query("SELECT extract(epoch FROM clock_timestamp())::float8")
        return Breaker(), now_s
    state, failures, opened, probes, successes, forced, until, now_s = rows[0]
    return (
        Breaker(
            state=BreakerState(state),
            failures=failures,
            opened_at_s=opened,
            probes=probes,
            successes=successes,
            forced=BreakerState(forced) if forced else None,
            forced_until_s=until,
        ),
        now_s,
    )


def _change(name: str, decide: Callable[[Breaker, float], Breaker]) -> tuple[Breaker, float]:
    with transaction.atomic():
        postgres.query(
            "INSERT INTO breaker (name, state, failures, probes, successes, updated_at)"
            " VALUES (%s, 'CLOSED', 0, 0, 0, now()) ON CONFLICT (name) DO NOTHING RETURNING 1",
            [name],
        )
        before, now_s = _of(
            postgres.query(
                f"SELECT {_COLUMNS} FROM breaker WHERE name = %s FOR NO KEY UPDATE", [name]
            )
        )
        after = decide(before, now_s)
        if after != before:
            _write(name, after)
    line = rules.log_line(name.partition(":")[2], before, after)
    if line:
        log.warning(line)
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
