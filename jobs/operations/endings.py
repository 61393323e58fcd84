"""Ends outside a run, and what every end brings with it in its own transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from jobs.domain.outcomes import Kind, Outcome
from jobs.domain.states import ENDED_STATUSES, State, Status
from jobs.models.tasks import Flag
from jobs.operations import credits, limits, platform_facts, totals
from jobs.operations.callbacks import submit_callbacks
from jobs.store import catalog, postgres

Refund = tuple[int, int]  # account, amount
_HELD_OR_ENDED = (State.ARCHIVED, State.COMPLETED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A row after a settle or finish; most are not ended and cost nothing here.

    `counted`: it was a dead letter, so its parent has counted it already.
    """

    id: str
    state: int
    status: int
    flags: int
    parent_id: str | None
    counted: bool = False
    stop_upstream: bool = False
    limit_id: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """An end (or a hold, for ARCHIVED) that no run reports: from `sources` only; failed or cancelled is refunded.

    `error` is kept as a run of `kind`; `crashed` is added to the crash count; `dead` moves to the dead letters;
    `stop_upstream`: an external platform that still works on it is told to stop.
    """

    state: State
    status: Status
    sources: tuple[State, ...]
    kind: Kind
    reason: str
    actor: str = "system"
    error: str | None = None
    dead: bool = False
    crashed: int = 0
    stop_upstream: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """What a finish did to one task; `worker_id` is whose run was cut off, `refunded` credits were paid back."""

    id: str
    queue_id: int
    was: State
    credits: int
    refunded: int
    worker_id: int | None


def finish(ids: Sequence[str], how: Finish) -> list[Finished]:
    """End tasks inside the caller's transaction; ids in another state are left out of the answer."""
    done, refunds = _finish(ids, how)
    credits.pay_back(refunds)
    return done


def _finish(ids: Sequence[str], how: Finish) -> tuple[list[Finished], list[Refund]]:
    rows = postgres.fetch(
        "task_finish",
        {
            "ids": list(ids),
            "from_states": [int(s) for s in how.sources],
            "state": int(how.state),
            "status": int(how.status),
            "kind": int(how.kind),
            "error": how.error,
            "reason": how.reason,
            "actor": how.actor,
            "dead": how.dead,
            "crashed": how.crashed,
            "dead_queue": catalog.queues().dead_letter_id,
            "dead_retention_s": settings.TASKCENTER["DEAD_RETENTION_S"],
        },
    )
    ended = [
        Ended(
            id=r[0],
            state=how.state,
            status=how.status,
            flags=r[3],
            parent_id=r[4],
            stop_upstream=how.stop_upstream,
            counted=r[2] == State.ARCHIVED and r[9] == Status.FAILURE,
            limit_id=r[10],
        )
        for r in rows
    ]
    refunds = [(r[6], r[7]) for r in rows if r[6] is not None]
    refunds += follow_up(ended)
    done = [
        Finished(
            id=r[0],
            queue_id=r[1],
            was=State(r[2]),
            credits=r[5],
            refunded=r[7] or 0,
            worker_id=r[8],
        )
        for r in rows
    ]
    return done, refunds


def follow_up(rows: Sequence[Ended], outcomes: Sequence[Outcome] = ()) -> list[Refund]:
    """Everything that an end, or a wait for a later run, brings with it. Order of locks: unique locks, parents by id.

    Returns refunds of parents that ended with it, for the caller to pay with its own as the last thing it does.
    """
    limits.admit_soon(row.limit_id for row in rows if _gave_up_place(row))
    ended = [row for row in rows if row.state in _HELD_OR_ENDED]
    free_locks(row.id for row in ended if row.flags & Flag.UNIQUE)
    platform_facts.keep({row.id for row in rows}, outcomes)
    parents = _count_children(
        [row for row in ended if row.parent_id is not None and not row.counted]
    )
    _end_on_platforms([row for row in ended if row.flags & Flag.PLATFORM], outcomes)
    callbacks = [row.id for row in ended if row.flags & Flag.CALLBACK]
    refunds = _end_parents(parents)
    note_awaited((row.id, row.status, row.flags) for row in ended if row.state == State.COMPLETED)
    if callbacks:
        submit_callbacks(callbacks)
    return refunds


def _gave_up_place(row: Ended) -> bool:
    return row.limit_id is not None and not limits.has_place(State(row.state), row.flags, runs=1)


def note_awaited(ended: Iterable[tuple[str, int, int]]) -> None:
    """Leave a note of each (id, status, flags) that others wait for; `aftermath` works it off after the commit."""
    from jobs.operations import aftermath  # ends there come back here

    noted = [row for row in ended if row[2] & (Flag.AWAITED | Flag.COLLECTED | Flag.PARENT)]
    if noted:
        postgres.query(
            "INSERT INTO task_aftermath (task_id, status, flags)"
            " SELECT * FROM unnest(%s::uuid[], %s::smallint[], %s::int[]) RETURNING 1",
            [[r[0] for r in noted], [int(r[1]) for r in noted], [int(r[2]) for r in noted]],
        )
        transaction.on_commit(aftermath.advance_soon, robust=True)


def _end_on_platforms(ended: Sequence[Ended], outcomes: Sequence[Outcome]) -> None:
    """What is cancelled here, or ends while it runs on over there, is cancelled over there."""
    running = {o.task_id for o in outcomes if o.platform is not None and o.platform.cancel_upstream}
    platform_facts.end(row.id for row in ended if row.status in ENDED_STATUSES)
    platform_facts.cancel_upstream(
        row.id
        for row in ended
        if row.status == Status.CANCELLED or row.id in running or row.stop_upstream
    )


def free_locks(ids: Iterable[str]) -> None:
    """Free the unique locks that these tasks hold; one that belongs to another task by now stays."""
    listed = list(ids)
    if listed:
        postgres.query(
            "DELETE FROM unique_lock WHERE task_id = ANY(%s::uuid[]) RETURNING 1", [listed]
        )


def _count_children(children: Sequence[Ended]) -> list[tuple[str, int]]:
    """Count ended children on their parents, one update per batch; returns (parent, failed) of those complete."""
    if not children:
        return []
    counts: dict[str, list[int]] = {}
    for child in children:
        count = counts.setdefault(str(child.parent_id), [0, 0])
        count[0 if child.status == Status.SUCCESS else 1] += 1
    ordered = sorted(counts)
    rows = postgres.query(
        "WITH l AS MATERIALIZED (SELECT s.task_id, x.d, x.f FROM shard_count s"
        " JOIN unnest(%s::uuid[], %s::int[], %s::int[]) x(id, d, f) ON x.id = s.task_id"
        " ORDER BY s.task_id FOR NO KEY UPDATE OF s)"
        " UPDATE shard_count s SET done = s.done + l.d, failed = s.failed + l.f FROM l WHERE s.task_id = l.task_id"
        " RETURNING s.task_id::text, s.failed, s.done + s.failed >= s.total",
        [ordered, [counts[p][0] for p in ordered], [counts[p][1] for p in ordered]],
    )
    return [(row[0], row[1]) for row in rows if row[2]]


def _end_parents(parents: Sequence[tuple[str, int]]) -> list[Refund]:
    """A parent ends with its last child: SUCCESS when none failed."""
    refunds: list[Refund] = []
    for failed in (False, True):
        ids = sorted(p for p, f in parents if (f > 0) is failed)
        if ids:
            if not failed:
                totals.keep(ids)
            refunds += _finish(
                ids,
                Finish(
                    state=State.COMPLETED,
                    status=Status.FAILURE if failed else Status.SUCCESS,
                    sources=(State.AGGREGATING,),
                    kind=Kind.FAILED if failed else Kind.SUCCEEDED,
                    reason="shards ended",
                    error="shards failed" if failed else None,
                ),
            )[1]
    return refunds
