"""Polls without a claim: a task that goes well on its platform is only asked about; news alone is claimed and settled.

`poll_at` is moved on before a request leaves, as if the platform were going to say again what it said last; when it
does, nothing more is written. Whoever dies in between costs the task one poll. Its row waits for the time limit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
import structlog
from django.db import transaction

from jobs.domain.states import Lane, State
from jobs.handlers.registry import PLATFORM_RUN
from jobs.operations import tickets
from jobs.operations.platform_facts import PlatformFactsRow
from jobs.operations.runs import Run
from jobs.store import postgres

log = structlog.get_logger("platforms")

NOBODY_S = 60.0
NOBODY_BATCH = 500

_HELD_OR_ENDED = (State.ARCHIVED, State.COMPLETED)

Pair = tuple[Run, PlatformFactsRow]


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """Whom to ask now, how many rows were due, and the due time of the longest due one (none: before this look)."""

    pairs: list[Pair]
    count: int
    oldest: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Later:
    """Ask again in `delay_s`, `polls` answers of this status having come in a row; `token` as it was asked about.

    `asked=False`: no request left after all, the last poll was at `polled_at`.
    """

    task_id: str
    token: int
    delay_s: float
    polls: int
    asked: bool = True
    polled_at: datetime | None = None


def take(
    queue_ids: Sequence[int],
    want: int,
    delays_s: Callable[[Sequence[Pair]], Sequence[float]],
    *,
    floor: datetime,
) -> Taken:
    """Up to `want` tasks of these queues (a base: with its tenants') whose poll is due; this caller's until the next.

    `delays_s`: for each, when it is asked next if nothing changes. What may stop a task over there goes by a claim.
    """
    with transaction.atomic():
        tickets.ordered_plan()
        rows = postgres.fetch(
            "poll_take", {"queues": list(queue_ids), "limit": want, "floor": floor}
        )
        if not rows:  # due, but for others: whoever looks again passes them by
            [(now,)] = postgres.query("SELECT now()")
            return Taken(pairs=[], count=0, oldest=now)
        found = [(_pair(row), State(row[11])) for row in rows]
        delays = delays_s([pair for pair, _ in found])
        asked = [
            state in (State.SCHEDULED, State.RETRY) and not _needs_claim(facts)
            for (_, facts), state in found
        ]
        _move(
            [
                (facts.task_id, None if state in _HELD_OR_ENDED else s, facts.polls + yes, yes)
                for ((_, facts), state), s, yes in zip(found, delays, asked, strict=True)
            ]
        )
    _make_due([facts.task_id for (_, facts), _ in found if _needs_claim(facts)])
    return Taken(
        pairs=[pair for (pair, _), yes in zip(found, asked, strict=True) if yes],
        count=len(rows),
        oldest=rows[0][23],
    )


def _needs_claim(facts: PlatformFactsRow) -> bool:
    """What may stop it over there goes by a claim: two last polls would cancel each other's task."""
    return facts.cancel_requested or facts.left_s <= 0


def later(items: Sequence[Later]) -> None:
    """These were not asked, or answer late: their next poll is put off, unless they were settled since."""
    if items:
        postgres.execute(
            "poll_later",
            {
                "ids": [i.task_id for i in items],
                "tokens": [i.token for i in items],
                "delays_s": [i.delay_s for i in items],
                "polls": [i.polls for i in items],
                "asked": [i.asked for i in items],
                "polled_at": [i.polled_at for i in items],
            },
        )


def claim(worker_id: int, runs: Sequence[Run]) -> dict[str, Run]:
    """By task id those that wait as they did when they were asked about; they are this worker's now."""
    rows = postgres.fetch(
        "poll_claim",
        {
            "ids": [run.id for run in runs],
            "tokens": [run.token for run in runs],
            "worker": worker_id,
        },
    )
    asked = {run.id: run for run in runs}
    return {
        id_: replace(asked[id_], token=token, runs=count, trace_id=trace_id)
        for id_, token, count, trace_id in rows
    }


def next_due_s(floor: datetime, *, at_most_s: float) -> float:
    """Seconds until the next poll after `floor`, between 0 and `at_most_s`."""
    [(due_s,)] = postgres.query(
        "SELECT extract(epoch FROM min(poll_at) - clock_timestamp())::float8 FROM platform_task WHERE poll_at > %s",
        [floor],
    )
    return at_most_s if due_s is None else max(0.0, min(at_most_s, due_s))


def hand_over() -> int:
    """Give tasks that nobody has asked about for a minute to their queue; a bounded batch."""
    with transaction.atomic():
        tickets.ordered_plan()
        rows = postgres.fetch("poll_overdue", {"for_s": NOBODY_S, "limit": NOBODY_BATCH})
    if rows:
        log.warning("polls that nobody made go by tickets", count=len(rows))
        postgres.query(
            "UPDATE platform_task SET poll_at = NULL WHERE task_id = ANY(ARRAY("
            " SELECT task_id FROM platform_task WHERE task_id = ANY(%s::uuid[])"
            " AND poll_at < clock_timestamp() - %s * interval '1 second' FOR NO KEY UPDATE SKIP LOCKED)) RETURNING 1",
            [[row[0] for row in rows], NOBODY_S],
        )
    return len(rows)


def _make_due(task_ids: Sequence[str]) -> None:
    """What somebody holds is made due when its poll comes round again."""
    if task_ids:
        postgres.query(
            "UPDATE task SET run_at = clock_timestamp() WHERE id = ANY(ARRAY(SELECT id FROM task"
            " WHERE id = ANY(%s::uuid[]) AND state + 0 IN (3, 4) FOR NO KEY UPDATE SKIP LOCKED)) RETURNING 1",
            [list(task_ids)],
        )


def _move(items: Sequence[tuple[str, float | None, int, bool]]) -> None:
    """(task id, delay, polls, whether it is asked now), written in the order of the ids."""
    ids, delays, polls, asked = zip(*sorted(items, key=lambda i: i[0]), strict=True)
    postgres.execute(
        "poll_move",
        {"ids": list(ids), "delays_s": list(delays), "polls": list(polls), "asked": list(asked)},
    )


def _pair(row: postgres.Row) -> Pair:
    run = Run(
        id=row[0],
        token=row[1],
        queue_id=row[2],
        lane=Lane.PLATFORM,
        timeout_ms=None,
        credits=row[3],
        flags=row[4],
        runs=row[5],
        retried=row[6],
        max_retries=row[7],
        crashes=row[8],
        status=row[9],
        tenant_id=row[10],
        left_s=None,
        type=PLATFORM_RUN,
        payload_json="{}",
        options_json="{}",
        user_id=None,
        business_id=None,
        trace_id=None,
        platform=None,
    )
    facts = PlatformFactsRow(
        task_id=row[0],
        platform_id=row[12],
        external_id=row[13],
        raw_status=row[14],
        polls=row[15],
        unknowns=row[16],
        contact_errors=row[17],
        submit_started=True,
        left_s=row[18],
        cycle=row[19],
        cancel_requested=row[20],
        cancel_answer=None,
        urls=msgspec.json.decode(row[21]),
        progress=row[22],
        polled_at=row[24],
    )
    return run, facts
