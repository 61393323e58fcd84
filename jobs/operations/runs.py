"""A run's life in the database: claim, settle, hand back. Fenced by (worker, token) throughout."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import structlog
from django.conf import settings
from django.db import OperationalError, transaction

from jobs.domain.outcomes import Kind, Outcome
from jobs.domain.states import State, Status
from jobs.operations import credits, endings, platform_facts
from jobs.store import catalog, postgres, sealed

log = structlog.get_logger("runs")

_TRIES = 5
_ADMIN_SHUTDOWN = {"57P01", "57P02", "57P03"}
_RETRYABLE = {"40P01", "40001"}
_LOCKED = "55P03"
_MONEY_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Run:
    """A claimed task: what the lanes need to run it. `left_s`: seconds to its deadline at the claim.

    `payload_json` and the headers in `options_json` as they are stored: whoever reads them opens them.
    """

    id: str
    token: int
    queue_id: int
    lane: int
    timeout_ms: int | None
    credits: int
    flags: int
    runs: int
    retried: int
    max_retries: int
    crashes: int
    status: int
    tenant_id: int
    left_s: float | None
    type: str
    payload_json: str
    options_json: str
    user_id: int | None
    business_id: str | None
    trace_id: str | None
    platform: str | None


@dataclass(frozen=True, slots=True)
class Missing:
    """Tickets a claim did not turn into runs: paused go back, locked wait a little, the rest are dropped."""

    paused: list[str]
    locked: list[str]
    gone: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """Ids that were still ours, and outcomes not written: somebody keeps their rows locked, bring them again."""

    accepted: set[str]
    held: list[Outcome]


def claim(worker_id: int, ids: Sequence[str]) -> list[Run]:
    """Claim pending tasks for a worker, one statement. Ids that don't come back: ask `missing`."""
    return [
        Run(*row) for row in postgres.fetch("task_claim", {"ids": list(ids), "worker": worker_id})
    ]


def missing(ids: Sequence[str]) -> Missing:
    """Why `claim` did not return these ids: paused and locked ones come back, what is gone does not."""
    rows = {row[0]: row for row in postgres.fetch("task_missing", {"ids": list(ids)})}
    paused = [i for i in ids if i in rows and rows[i][1] == 1 and rows[i][2]]
    locked = [i for i in ids if i in rows and rows[i][1] == 1 and not rows[i][2]]
    known = {*paused, *locked}
    return Missing(paused=paused, locked=locked, gone=[i for i in ids if i not in known])


def settle(worker_id: int, outcomes: Sequence[Outcome], *, wait_s: float | None = None) -> Settled:
    """Write how runs ended. `wait_s`: how long to wait for locked rows.

    Charged tasks that fail are settled apart, so that a locked account holds up nobody else.
    """
    plain = [o for o in outcomes if not _moves_money(o)]
    money = [o for o in outcomes if _moves_money(o)]
    done = Settled(accepted=set(), held=[])
    if plain:
        _settle_around(worker_id, plain, wait_s, done)
    if money:
        _settle_around(worker_id, money, _MONEY_WAIT_S if wait_s is None else wait_s, done)
    known = done.accepted.union(o.task_id for o in done.held)
    if len(known) < len(outcomes):
        log.warning("fenced", worker=worker_id, count=len(outcomes) - len(known))
        platform_facts.late(
            [(o, None) for o in outcomes if o.platform is not None and o.task_id not in known]
        )
    return done


def hand_back(
    worker_id: int, held: Sequence[tuple[str, int]], *, unstarted: bool, epoch: int
) -> list[tuple[str, int, int]]:
    """Return claimed (id, token) pairs to the head of their queues; no retry is counted.

    Returns (id, queue id, lane) in queue order; their tickets are for the caller to push to the front.
    """
    rows = postgres.fetch(
        "task_hand_back",
        {
            "ids": [h[0] for h in held],
            "tokens": [h[1] for h in held],
            "worker": worker_id,
            "unstarted": int(unstarted),
            "epoch": epoch,
        },
    )
    if len(rows) < len(held):
        _end_cancelled(worker_id, held)
    return [(r[0], r[1], r[2]) for r in rows]


def _end_cancelled(worker_id: int, held: Sequence[tuple[str, int]]) -> None:
    """What was asked to stop is not handed back to run again: it ends as cancelled."""
    with transaction.atomic():
        rows = postgres.query(
            "SELECT t.id::text FROM task t JOIN unnest(%s::uuid[], %s::int[]) o(id, token) ON o.id = t.id"
            " WHERE t.state + 0 = 2 AND t.worker_id + 0 = %s AND t.token = o.token AND t.cancel > 0"
            " ORDER BY t.id FOR NO KEY UPDATE OF t",
            [[h[0] for h in held], [h[1] for h in held], worker_id],
        )
        if rows:
            endings.finish(
                [row[0] for row in rows],
                endings.Finish(
                    state=State.COMPLETED,
                    status=Status.CANCELLED,
                    sources=(State.ACTIVE,),
                    kind=Kind.CANCELLED,
                    reason="cancelled",
                ),
            )


def report_progress(worker_id: int, moved: Sequence[tuple[str, int, int]]) -> None:
    """Write the progress (id, token, percent) of runs that are still this worker's."""
    postgres.query(
        "UPDATE task t SET progress = x.percent"
        " FROM unnest(%s::uuid[], %s::int[], %s::smallint[]) x(id, token, percent)"
        " WHERE t.id = x.id AND t.state + 0 = 2 AND t.worker_id + 0 = %s AND t.token = x.token"
        " AND t.progress <> x.percent RETURNING 1",
        [[m[0] for m in moved], [m[1] for m in moved], [m[2] for m in moved], worker_id],
    )


def holds(worker_id: int) -> dict[str, int]:
    """The self-audit's question: id → token of every row active under this worker."""
    return {row[0]: row[1] for row in postgres.fetch("worker_holds", {"worker": worker_id})}


def _moves_money(outcome: Outcome) -> bool:
    return outcome.charged and outcome.status in (Status.FAILURE, Status.CANCELLED)


def _settle_around(
    worker_id: int, batch: Sequence[Outcome], wait_s: float | None, done: Settled
) -> None:
    """Write all but those whose rows somebody keeps locked; add to `done` what became of each."""
    try:
        done.accepted.update(_settle_retrying(worker_id, batch, wait_s))
        return
    except OperationalError as error:
        if _sqlstate(error) != _LOCKED:
            raise
    ids, money = [o.task_id for o in batch], _moves_money(batch[0])
    held = {row[0] for row in postgres.fetch("task_held", {"ids": ids, "money": money})}
    log.warning("settle met locked rows", count=len(batch), held=len(held))
    if held:
        parts = [[o for o in batch if o.task_id not in held]]
        done.held.extend(o for o in batch if o.task_id in held)
    elif len(batch) > 1:  # let go meanwhile, or what its end would touch besides is locked
        half = len(batch) // 2
        parts = [list(batch[:half]), list(batch[half:])]
    else:
        parts = []
        done.held.extend(batch)
    for part in parts:
        if part:
            _settle_around(worker_id, part, wait_s, done)


def _settle_retrying(worker_id: int, batch: Sequence[Outcome], wait_s: float | None) -> set[str]:
    """Repeat the whole transaction on a deadlock; then halve, so that one bad row blocks nobody."""
    for attempt in range(_TRIES):
        try:
            return _settle_once(worker_id, batch, wait_s)
        except OperationalError as error:
            if _sqlstate(error) not in _RETRYABLE:
                raise
            log.warning("settle repeated", code=_sqlstate(error), count=len(batch), attempt=attempt)
            time.sleep(random.uniform(0.01, 0.05) * (attempt + 1))
    if len(batch) == 1:
        return _settle_once(worker_id, batch, wait_s)
    half = len(batch) // 2
    return _settle_retrying(worker_id, batch[:half], wait_s) | _settle_retrying(
        worker_id, batch[half:], wait_s
    )


def _sqlstate(error: Exception) -> str | None:
    return getattr(error.__cause__, "sqlstate", None)


def _settle_once(worker_id: int, batch: Sequence[Outcome], wait_s: float | None) -> set[str]:
    with transaction.atomic():
        if wait_s is not None:
            postgres.query(
                "SELECT set_config('lock_timeout', %s, true)", [f"{wait_s * 1000:.0f}ms"]
            )
        rows = postgres.fetch("task_settle", _settle_params(worker_id, batch))
        refunds = [(r[6], r[7]) for r in rows if r[6] is not None]
        refunds += endings.follow_up(
            [
                endings.Ended(
                    id=r[0], state=r[2], status=r[3], flags=r[4], parent_id=r[5], limit_id=r[8]
                )
                for r in rows
            ],
            batch,
        )
        credits.pay_back(refunds)
    return {row[0] for row in rows}


def _settle_params(worker_id: int, batch: Sequence[Outcome]) -> dict[str, object]:
    return {
        "ids": [o.task_id for o in batch],
        "tokens": [o.token for o in batch],
        "states": [int(o.state) for o in batch],
        "statuses": [int(o.status) for o in batch],
        "delays_s": [o.delay_s for o in batch],
        "counts": [o.counts for o in batch],
        "dead": [o.to_dead_letter for o in batch],
        "kinds": [int(o.kind) for o in batch],
        "errors": [o.error or o.fail_reason for o in batch],
        "results": [
            None if o.result is None else sealed.close(msgspec.json.encode(o.result).decode())
            for o in batch
        ],
        "progress": [o.progress for o in batch],
        "crashed": [int(o.crashed) for o in batch],
        "refunds": [o.refund for o in batch],
        "worker": worker_id,
        "dead_queue": catalog.queues().dead_letter_id,
        "dead_retention_s": settings.TASKCENTER["DEAD_RETENTION_S"],
    }
