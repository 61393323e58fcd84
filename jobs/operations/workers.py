"""Workers: birth, heartbeat, death - by the database's clock, final, and observed."""

from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from django.db import transaction

from jobs.contract.reader import contract
from jobs.domain import ids
from jobs.domain.errors import Invalid, NotFound, RedisUnavailable
from jobs.domain.outcomes import Kind
from jobs.domain.states import State, Status
from jobs.operations import endings, tickets
from jobs.operations.endings import Finish
from jobs.store import postgres, redis

log = structlog.get_logger("workers")

_LOST = (
    "INSERT INTO event (task_id, kind, actor, detail) SELECT t.id, 'worker_lost', 'system',"
    " jsonb_build_object('worker', w.name, 'attempt', t.runs, 'crashes', t.crashes + 1, 'reason', 'worker lost')"
    " FROM task t LEFT JOIN worker w ON w.id = t.worker_id WHERE t.id = %s AND t.state + 0 = 2 RETURNING 1"
)
COMMANDS = ("", "quiet", "stop")
MOST_CONCURRENCY = 10_000

_ORPHAN_PAGE = 100
_ORPHAN_PAGES = 50
_FIRST = "00000000-0000-0000-0000-000000000000"
_ASKED = msgspec.json.Decoder(tuple[int, float])


@dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """What a heartbeat brought: the control version, the emergency stop, a command, tasks to cancel.

    `concurrency`: what operators asked for last and when (unix seconds), None if they never did.
    """

    version: int
    stopped: bool
    command: str
    concurrency: tuple[int, float] | None
    cancel: list[str]


def register(name: str, stats: dict[str, Any]) -> int:
    """A fresh id for a starting worker; ids are never used again."""
    rows = postgres.query(
        "INSERT INTO worker (name, started_at, beat_at, command, stats)"
        " VALUES (%s, clock_timestamp(), clock_timestamp(), '', %s::jsonb) RETURNING id",
        [name, _json(stats)],
    )
    return int(rows[0][0])


def beat(worker_id: int, stats: dict[str, Any]) -> Beat | None:
    """Renew the lease. None: somebody declared this worker dead; it must settle nothing more and start over."""
    rows = postgres.fetch("worker_beat", {"worker": worker_id, "stats": _json(stats)})
    if not rows:
        return None
    version, stopped, command, concurrency, cancel = rows[0]
    return Beat(
        version=version,
        stopped=stopped,
        command=command,
        concurrency=None if concurrency is None else _ASKED.decode(concurrency),
        cancel=list(cancel),
    )


def retire(worker_id: int) -> None:
    """A worker's orderly end, after it has handed everything back."""
    postgres.query(
        "UPDATE worker SET dead_at = clock_timestamp() WHERE id = %s AND dead_at IS NULL RETURNING 1",
        [worker_id],
    )


def bury_silent(lease_s: float) -> list[int]:
    """Declare workers dead that have been silent for a lease. Only for callers whose own sweeps were on time."""
    rows = postgres.fetch("worker_bury", {"lease_s": lease_s})
    for worker_id, name in rows:
        log.warning("worker lost", worker=name, worker_id=worker_id)
        bury(worker_id)
    return [row[0] for row in rows]


def bury(worker_id: int) -> None:
    """Remove a dead worker's keys; what it had fetched without claiming gets new tickets at the next refill."""
    try:
        held = redis.held([worker_id])[worker_id]
        redis.bury(worker_id)
    except RedisUnavailable as error:
        log.info("dead worker's keys left behind", worker_id=worker_id, error=str(error))
    else:
        tickets.lost(held)


def rescue() -> int:
    """Return what runs under no living worker to its queue; convict poison; finish open cancellations."""
    poison = contract().poison
    epoch = tickets.stamp("")
    rows = postgres.fetch(
        "task_rescue", {"crash_limit": poison.most_at, "solo_at": poison.solo_at, "epoch": epoch}
    )
    if rows:
        log.warning("tasks rescued", count=len(rows))
        if epoch:
            tickets.push(
                list(reversed(tickets.tickets_of([(r[0], r[1], r[2]) for r in rows]))), front=True
            )
    return len(rows) + _finish_orphans(poison.most_at)


def command(worker_id: int, verb: str) -> None:
    """Ask a worker to be quiet or to stop. Raises Invalid, NotFound."""
    if verb not in COMMANDS:
        raise Invalid("Unknown command '%(verb)s'", verb=verb, known=COMMANDS)
    rows = postgres.query(
        "UPDATE worker SET command = %s WHERE id = %s AND dead_at IS NULL RETURNING id",
        [verb, worker_id],
    )
    if not rows:
        raise NotFound("There is no such living worker", worker=worker_id)
    transaction.on_commit(lambda: redis.cancel_signal(worker_id), robust=True)


def set_concurrency(worker_id: int, concurrency: int) -> None:
    """Give a running worker more or fewer slots; nothing that runs is stopped for it. Raises Invalid, NotFound."""
    if not 1 <= concurrency <= MOST_CONCURRENCY:
        raise Invalid(
            "A concurrency is between 1 and %(most)s",
            most=MOST_CONCURRENCY,
            given=concurrency,
        )
    rows = postgres.query(
        "UPDATE worker SET stats = stats || jsonb_build_object('concurrency_wanted',"
        "  jsonb_build_array(%s::int, extract(epoch FROM clock_timestamp())::float8))"
        " WHERE id = %s AND dead_at IS NULL RETURNING id",
        [concurrency, worker_id],
    )
    if not rows:
        raise NotFound("There is no such living worker", worker=worker_id)
    transaction.on_commit(lambda: redis.cancel_signal(worker_id), robust=True)


def _finish_orphans(crash_limit: int) -> int:
    """All of them, page by page; what is left of very many is for the next pass."""
    finished, after = 0, _FIRST
    for _ in range(_ORPHAN_PAGES):
        orphans = postgres.fetch(
            "task_orphans", {"crash_limit": crash_limit, "after": after, "limit": _ORPHAN_PAGE}
        )
        finished += sum(
            _finish_one(id_, _cancelled() if cancelled else _poison(crash_limit))
            for id_, cancelled in orphans
        )
        if len(orphans) < _ORPHAN_PAGE:
            break
        after = orphans[-1][0]
    return finished


def _finish_one(task_id: str, how: Finish) -> bool:
    """One that cannot be ended is logged and holds up no other."""
    try:
        with transaction.atomic():
            postgres.query(_LOST, [task_id])
            if not endings.finish([task_id], how):
                transaction.set_rollback(True)  # somebody ended it meanwhile
    except Exception as error:
        if postgres.is_away(error):
            raise
        log.error(
            "orphan not ended",
            task_id=ids.public_id(task_id),
            error=f"{type(error).__name__}: {error}"[:1000],
        )
        return False
    return True


def _cancelled() -> Finish:
    return Finish(
        state=State.COMPLETED,
        status=Status.CANCELLED,
        sources=(State.ACTIVE,),
        kind=Kind.CANCELLED,
        reason="cancelled",
        crashed=1,
    )


def _poison(limit: int) -> Finish:
    return Finish(
        state=State.ARCHIVED,
        status=Status.FAILURE,
        sources=(State.ACTIVE,),
        kind=Kind.DEAD,
        reason="poison",
        error=f"Poison: its worker died {limit} times while this task ran",
        dead=True,
        crashed=1,
    )


def _json(stats: dict[str, Any]) -> str:
    return msgspec.json.encode(stats).decode()
