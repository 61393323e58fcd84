"""What we know of tasks on their platforms, and what their ends bring with them over there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import structlog

from jobs.domain import ids
from jobs.domain.outcomes import Outcome
from jobs.domain.states import Status
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import submit_many
from jobs.platforms.registry import cancels_in_two_phases
from jobs.store import postgres, sealed

log = structlog.get_logger("platforms")

CANCEL = "platform:cancel"
_CANCEL_TRIES = 10


@dataclass(frozen=True, slots=True)
class PlatformFactsRow:
    """A claimed platform task's other half. `left_s`: seconds to its time limit, negative when it has passed.

    `cancel_requested`: an operator's two-phase cancel; `cancel_answer`: what the platform said to it.
    `progress`: what the task shows. `polled_at`: the last poll before one without a claim.
    """

    task_id: str
    platform_id: int
    external_id: str | None
    raw_status: str | None
    polls: int
    unknowns: int
    contact_errors: int
    submit_started: bool
    left_s: float
    cycle: int
    cancel_requested: bool
    cancel_answer: str | None
    urls: dict[str, str]
    progress: int
    polled_at: datetime | None = None


def load(task_ids: Sequence[str]) -> dict[str, PlatformFactsRow]:
    """What is known of these tasks on their platforms, by task id."""
    rows = postgres.fetch("platform_load", {"ids": list(task_ids)})
    return {
        row[0]: PlatformFactsRow(*(*row[:12], msgspec.json.decode(row[12]), row[13]))
        for row in rows
    }


def keep(mine: set[str], outcomes: Sequence[Outcome]) -> None:
    """Store what settled runs learnt of their tasks on a platform; runs that were fenced are left out."""
    facts = [
        (o.task_id, o.platform) for o in outcomes if o.platform is not None and o.task_id in mine
    ]
    if not facts:
        return
    rows = [
        {
            "id": id_,
            "external_id": f.external_id,
            "raw_status": f.raw_status,
            "polls": f.polls,
            "unknowns": f.unknowns,
            "contact_errors": f.contact_errors,
            "cancel_answer": f.cancel_answer,
            "urls": f.urls or None,
            "understood": f.understood,
            "answer": _closed(f.answer),
            "poll_s": f.poll_s,
        }
        for id_, f in facts
    ]
    # One JSON text: arrays of ten columns cost the worker more to write than the row costs the database.
    postgres.fetch("platform_keep", {"rows": msgspec.json.encode(rows).decode()})


def _closed(answer: object) -> msgspec.Raw | None:
    if answer is None:
        return None
    return msgspec.Raw(sealed.close(msgspec.json.encode(answer).decode()).encode())


def end(task_ids: Iterable[str]) -> None:
    """These tasks have ended here: they no longer count among those open over there."""
    listed = list(task_ids)
    if listed:
        postgres.query(
            "UPDATE platform_task SET ended_at = clock_timestamp(), poll_at = NULL"
            " WHERE task_id = ANY(%s::uuid[]) AND ended_at IS NULL RETURNING 1",
            [listed],
        )


def cancel_upstream(task_ids: Iterable[str]) -> None:
    """Platforms that still work on ended tasks are asked to stop, each by a task of its own."""
    listed = list(task_ids)
    if not listed:
        return
    rows = postgres.query(
        "SELECT task_id::text, platform_id, external_id, urls::text FROM platform_task"
        " WHERE task_id = ANY(%s::uuid[]) AND external_id IS NOT NULL",
        [listed],
    )
    _submit_cancels([(r[0], r[1], r[2], msgspec.json.decode(r[3])) for r in rows])


def request_cancel(task_id: str, *, active: bool) -> bool:
    """Note an operator's cancel for the walk to pass on, if the task is over there and cancels only ask there.

    The caller holds the task's lock; a waiting task is due at once. `active`: a submit may be on its way.
    """
    rows = postgres.query(
        "SELECT f.protocol, f.options::text FROM platform_task p JOIN platform f ON f.id = p.platform_id"
        " WHERE p.task_id = %s AND p.submit_started_at IS NOT NULL AND (p.external_id IS NOT NULL OR %s)",
        [task_id, active],
    )
    if not rows or not cancels_in_two_phases(rows[0][0], msgspec.json.decode(rows[0][1])):
        return False
    postgres.query(
        "WITH u AS (UPDATE task SET run_at = clock_timestamp() WHERE id = %s AND state IN (3, 4))"
        " UPDATE platform_task SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())"
        " WHERE task_id = %s RETURNING 1",
        [task_id, task_id],
    )
    return True


def late(outcomes: Sequence[tuple[Outcome, int | None]]) -> None:
    """What platforms answered to runs that nobody settles any more: (outcome, the run's cycle if it is known).

    A success is only noted: the books are closed. An id that a task still lacks is stored - it ends an
    ambiguous submit - or, for a task that has ended, cancelled over there.
    """
    for outcome, cycle in outcomes:
        facts = outcome.platform
        if outcome.status is Status.SUCCESS:
            note_late_success(outcome.task_id, facts.raw_status if facts else None)
        elif facts is not None and facts.external_id is not None:
            row = postgres.fetch(
                "platform_late",
                {
                    "id": outcome.task_id,
                    "platform": None,
                    "cycle": cycle,
                    "external_id": facts.external_id,
                    "raw_status": facts.raw_status,
                    "urls": msgspec.json.encode(facts.urls).decode(),
                },
            )
            if row and row[0][1]:
                _submit_cancels([(outcome.task_id, row[0][0], facts.external_id, facts.urls)])


def note_late_success(task_id: str, raw_status: str | None) -> None:
    """The platform succeeded with a task that has failed or was cancelled here; nothing else changes."""
    if postgres.query("SELECT 1 FROM task WHERE id = %s AND status IN (5, 9)", [task_id]):
        note(task_id, "late_success", raw_status=raw_status)


def note(task_id: str, kind: str, **detail: object) -> None:
    """Write into the task's history what the platform did, once for each kind and detail."""
    text = msgspec.json.encode(detail).decode()
    written = postgres.query(
        "INSERT INTO event (task_id, kind, actor, detail) SELECT %s, %s, 'platform', %s::jsonb"
        " WHERE NOT EXISTS (SELECT 1 FROM event WHERE task_id = %s AND kind = %s AND detail = %s::jsonb)"
        " RETURNING 1",
        [task_id, kind, text, task_id, kind, text],
    )
    if written:
        log.warning(kind.replace("_", " "), task_id=ids.public_id(task_id), **detail)


def _submit_cancels(found: Sequence[tuple[str, int, str, dict[str, str]]]) -> None:
    """Each carries all it needs: the task itself may be deleted in the same transaction."""
    requests = [
        TaskRequest(
            type=CANCEL,
            payload={
                "task_id": id_,
                "platform_id": platform_id,
                "external_id": external_id,
                "urls": urls,
            },
            queue="critical",
            max_retries=_CANCEL_TRIES,
        )
        for id_, platform_id, external_id, urls in found
    ]
    if requests:
        submit_many(requests, limited=False)
