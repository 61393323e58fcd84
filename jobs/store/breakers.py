"""PostgreSQL: circuit breakers as they lie in their rows, for the write door and the read door alike."""

from collections.abc import Sequence

from jobs.lifecycle.breaker import Breaker, BreakerState
from jobs.store import postgres

COLUMNS = (
    "name, state, failures, extract(epoch FROM opened_at)::float8, probes, successes, forced,"
    " extract(epoch FROM forced_until)::float8"
)


def of_row(row: postgres.Row) -> Breaker:
    """`row`: as in COLUMNS."""
    _name, state, failures, opened_s, probes, successes, forced, until_s = row
    return Breaker(
        state=BreakerState(state),
        failures=failures,
        opened_at_s=opened_s,
        probes=probes,
        successes=successes,
        forced=BreakerState(forced) if forced else None,
        forced_until_s=until_s,
    )


def read(names: Sequence[str], *, lock: bool = False) -> tuple[dict[str, Breaker], float]:
    """The breakers, closed where there is no row, and the database's time."""
    how = "FOR NO KEY UPDATE" if lock else ""
    rows = postgres.query(
        f"WITH b AS MATERIALIZED (SELECT * FROM breaker WHERE name = ANY(%s) ORDER BY name {how})"
        f" SELECT {COLUMNS} FROM b"
        " UNION ALL SELECT NULL, NULL, 0, extract(epoch FROM clock_timestamp())::float8, 0, 0, NULL, NULL"
        " FROM (SELECT count(*) FROM b) last",  # the clock is read when the locks are held
        [list(names)],
    )
    now_s = float(rows.pop()[3])
    known = {row[0]: of_row(row) for row in rows}
    return {name: known.get(name, Breaker()) for name in names}, now_s
