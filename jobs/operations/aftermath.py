"""What the end of an awaited task means for those that wait for it: worked off after its commit, in bounded steps.

The end itself only leaves a note (one row in its own transaction). `advance` takes notes right after the commit and,
as a duty, whatever was left: neither a chain of any length nor a task with many successors holds up a settle.
"""

import threading
from collections.abc import Iterable, Sequence

import structlog
from django.db import DatabaseError, transaction

from jobs.domain.outcomes import Kind
from jobs.domain.states import State, Status
from jobs.models.tasks import Flag
from jobs.operations import chains, endings
from jobs.operations.endings import Finish
from jobs.store import postgres

log = structlog.get_logger("aftermath")

BATCH = 200
_NOTES = 50
_busy = threading.local()


def advance_soon() -> None:
    """One bounded try right after a commit; the duty does the rest."""
    try:
        advance(passes=20)
    except DatabaseError as error:
        log.info("left to the duty", error=str(error).strip())


def advance(*, passes: int = 200) -> int:
    """Work off notes; returns how many passes found any. Nested calls leave theirs to the outer one."""
    if getattr(_busy, "on", False):
        return 0
    _busy.on = True
    try:
        for done in range(passes):
            if not _pass():
                return done
        return passes
    finally:
        _busy.on = False


def _pass() -> bool:
    with transaction.atomic():
        notes = postgres.fetch("aftermath_take", {"limit": _NOTES})
        if not notes:
            return False
        good = [n[1] for n in notes if n[2] == Status.SUCCESS and n[3] & Flag.AWAITED]
        bad = [n[1] for n in notes if n[2] != Status.SUCCESS and n[3] & Flag.AWAITED]
        chains.succeeded(good, limit=BATCH)
        _cancel(chains.successors(bad, limit=BATCH), "a task it waits for failed")
        for status in {n[2] for n in notes}:
            _end_members(
                [n[1] for n in notes if n[2] == status and n[3] & Flag.COLLECTED], Status(status)
            )
        _stop_shards([n[1] for n in notes if n[2] != Status.SUCCESS and n[3] & Flag.PARENT])
        postgres.fetch("aftermath_done", {"ids": [n[0] for n in notes]})
    return True


def _cancel(waiting: Sequence[str], why: str) -> None:
    if waiting:
        endings.finish(
            waiting,
            Finish(
                state=State.COMPLETED,
                status=Status.CANCELLED,
                sources=(State.PENDING, State.SCHEDULED, State.RETRY, State.AGGREGATING),
                kind=Kind.CANCELLED,
                reason=why,
                error=why,
            ),
        )


def _end_members(collected: Sequence[str], status: Status) -> None:
    """Members of a group end, and are refunded, with the task they were collected into."""
    if not collected:
        return
    rows = postgres.query(
        "SELECT id::text FROM task WHERE parent_id = ANY(%s::uuid[]) AND state = 7 ORDER BY task.id LIMIT %s",
        [list(collected), BATCH],
    )
    good = status is Status.SUCCESS
    if rows:
        endings.finish(
            [row[0] for row in rows],
            Finish(
                state=State.COMPLETED,
                status=status,
                sources=(State.AGGREGATING,),
                kind=Kind.SUCCEEDED if good else Kind.FAILED,
                reason="the group's task ended",
                error=None
                if good
                else "the task that the group was collected into did not succeed",
            ),
        )


def _stop_shards(parents: Iterable[str]) -> None:
    """A parent that was cancelled or failed takes its unfinished shards with it; running ones are asked to stop."""
    listed = list(parents)
    if not listed:
        return
    rows = postgres.query(
        "SELECT id::text FROM task WHERE parent_id = ANY(%s::uuid[]) AND state IN (1, 3, 4, 7)"
        " ORDER BY task.id LIMIT %s",
        [listed, BATCH],
    )
    _cancel([row[0] for row in rows], "its parent ended")
    postgres.query(
        "UPDATE task SET cancel = 1 WHERE parent_id = ANY(%s::uuid[]) AND state = 2 AND cancel = 0 RETURNING 1",
        [listed],
    )
