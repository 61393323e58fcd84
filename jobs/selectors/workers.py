"""Worker processes: who is alive, by the database's clock."""

from datetime import datetime
from typing import Any

import msgspec

from jobs.contract.reader import contract
from jobs.selectors.paging import Page, whole
from jobs.store import postgres

MOST = 1000


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: running, quiet, stopping; lost = silent for longer than its lease, not yet buried."""

    id: int
    name: str
    state: str
    started_at: datetime
    beat_at: datetime
    silent_s: float
    concurrency: int
    running: int
    queues: list[str]
    stats: dict[str, Any]


_COLUMNS = (
    "id, name, command, started_at, beat_at,"
    " extract(epoch FROM clock_timestamp() - beat_at)::float8, stats"
)


def listing() -> Page[WorkerView]:
    """Workers that nobody has declared dead, oldest first."""
    rows = postgres.query(
        f"SELECT {_COLUMNS} FROM worker WHERE dead_at IS NULL ORDER BY id LIMIT {MOST}"
    )
    return whole([_view(row) for row in rows])


def find(name: str) -> WorkerView | None:
    """The living worker of that name (or id as text), the newest if there are several."""
    rows = postgres.query(
        f"SELECT {_COLUMNS} FROM worker WHERE dead_at IS NULL AND (name = %(name)s OR id::text = %(name)s)"
        " ORDER BY id DESC LIMIT 1",
        {"name": name},
    )
    return _view(rows[0]) if rows else None


def alive() -> tuple[int, int]:
    """(worker processes within their lease, sum of their slots)."""
    return _alive(contract().leases.lease_s)


def _alive(lease_s: float) -> tuple[int, int]:
    rows = postgres.query(
        "SELECT count(*), coalesce(sum((stats ->> 'concurrency')::int), 0)::bigint FROM worker"
        " WHERE dead_at IS NULL AND beat_at > (SELECT clock_timestamp()) - %s * interval '1 second'",
        [lease_s],
    )
    return rows[0][0], rows[0][1]


def _view(row: postgres.Row) -> WorkerView:
    id_, name, command, started_at, beat_at, silent_s, text = row
    stats: dict[str, Any] = msgspec.json.decode(text)
    command = "stop" if stats.get("stopping") else command  # a signal's stop is nobody's command
    state = {"quiet": "quiet", "stop": "stopping"}.get(command, "running")
    return WorkerView(
        id=id_,
        name=name,
        state="lost" if silent_s > contract().leases.lease_s else state,
        started_at=started_at,
        beat_at=beat_at,
        silent_s=round(max(silent_s, 0.0), 3),
        concurrency=int(stats.get("concurrency", 0)),
        running=_count(stats.get("running", 0)),
        queues=list(stats.get("queues", [])),
        stats=stats,
    )


def _count(running: Any) -> int:
    return len(running) if isinstance(running, list | dict) else int(running)
