"""What web processes do while no worker holds a duty: fold counters, so that back-pressure is never blind (rule 20)."""

from jobs.operations import duties
from jobs.store import postgres

IDLE_S = 2.0


def fold_if_nobody_does(holder: str) -> int:
    """Fold once when deltas wait and the duty's last lease ended a moment ago; returns rows changed."""
    [(needed,)] = postgres.query(
        "SELECT EXISTS (SELECT 1 FROM stat_delta) AND NOT EXISTS (SELECT 1 FROM duty WHERE name = 'fold'"
        " AND until > (SELECT clock_timestamp()) - %s * interval '1 second')",
        [IDLE_S],
    )
    if not needed or not duties.take(holder, ["fold"], lease_s=1.0):
        return 0
    return duties.fold()
