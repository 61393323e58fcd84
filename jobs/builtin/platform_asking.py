"""Polls of tasks that nobody claimed: take those that are due, ask, and claim only where there is news."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog
from django.db import InterfaceError, OperationalError, connection

from jobs.builtin import platform_ends as ends
from jobs.builtin import platform_steps as steps
from jobs.builtin.platform_run import ask_unclaimed
from jobs.builtin.platform_walk import Pair, Quiet, nobody
from jobs.domain.outcomes import Kind, Outcome
from jobs.operations import platform_facts, platforms, polls
from jobs.operations.platform_facts import PlatformFactsRow
from jobs.operations.platforms import PlatformSettings
from jobs.operations.polls import Later
from jobs.operations.runs import Run

log = structlog.get_logger("platforms")

Heard = tuple[Pair, Outcome]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """Whom to ask, taken at `taken_s` of the monotonic clock.

    `count` rows were due at least, the longest of them since `oldest` (none: this look).
    """

    pairs: list[Pair]
    settings: Mapping[int, PlatformSettings]
    count: int
    oldest: datetime
    taken_s: float


def take(queue_ids: Sequence[int], want: int, *, floor: datetime) -> Asking:
    """Up to `want` tasks of these queues (a base: with its tenants') whose poll is due; their next ones are settled."""
    settings: dict[int, PlatformSettings] = {}
    taken_s = 0.0

    def delays_s(pairs: Sequence[Pair]) -> list[float]:
        nonlocal taken_s
        taken_s = time.monotonic()
        settings.update(platforms.settings_of(sorted({f.platform_id for _, f in pairs})))
        return [
            steps.next_delay_s(run, facts, settings[facts.platform_id])
            if facts.platform_id in settings
            else polls.NOBODY_S
            for run, facts in pairs
        ]

    taken = polls.take(queue_ids, want, delays_s, floor=floor)
    return Asking(
        pairs=taken.pairs,
        settings=settings,
        count=taken.count,
        oldest=taken.oldest,
        taken_s=taken_s,
    )


async def ask(asking: Asking, report: Callable[[Heard], None], quiet: Quiet = nobody) -> None:
    """Ask all of them; reported is what has to be written, `quiet` hears of the others."""
    by_id = {run.id: (run, facts) for run, facts in asking.pairs}
    known = []
    for run, facts in asking.pairs:
        if facts.platform_id in asking.settings:
            known.append((run, facts))
        else:
            report(((run, facts), ends.lost(run)))
    await ask_unclaimed(
        known,
        asking.settings,
        lambda outcome: report((by_id[outcome.task_id], outcome)),
        quiet,
        taken_s=asking.taken_s,
    )


def put_off(asking: Asking, task_ids: Sequence[str]) -> None:
    """These wait for an answer still: nobody asks about them again meanwhile, and their delays count from it."""
    left = set(task_ids)
    polls.later(
        [
            Later(
                task_id=run.id,
                token=run.token,
                delay_s=steps.next_delay_s(run, facts, asking.settings[facts.platform_id]),
                polls=facts.polls + 1,
            )
            for run, facts in asking.pairs
            if run.id in left and facts.platform_id in asking.settings
        ]
    )


def bring(worker_id: int, heard: Sequence[Heard]) -> list[tuple[Run, Outcome]]:
    """Put off what only has to wait, claim what has news; returns the claimed runs with their outcomes, to be settled.

    A task that is not as it was when it was asked about belongs to somebody else, or has ended: what the platform
    said is for its history.
    """
    polls.later([_later(facts, o) for (_, facts), o in heard if o.kind is Kind.POSTPONED])
    news = [(pair, o) for pair, o in heard if o.kind is not Kind.POSTPONED]
    if not news:
        return []
    claimed = polls.claim(worker_id, [run for (run, _), _ in news])
    _note([(o, facts.cycle) for (run, facts), o in news if run.id not in claimed])
    return [
        (claimed[run.id], replace(o, token=claimed[run.id].token))
        for (run, _), o in news
        if run.id in claimed
    ]


def _note(late: Sequence[tuple[Outcome, int | None]]) -> None:
    """Into the history; what cannot be written now must not keep back those that are claimed already."""
    try:
        platform_facts.late(late)
    except (OperationalError, InterfaceError) as error:
        connection.close()
        log.warning("late answers not noted", count=len(late), error=str(error).strip())


def _later(before: PlatformFactsRow, outcome: Outcome) -> Later:
    facts = outcome.platform
    quiet_s = None if facts is None else facts.poll_s
    return Later(
        task_id=outcome.task_id,
        token=outcome.token,
        delay_s=outcome.delay_s if quiet_s is None else quiet_s,
        polls=0 if facts is None else facts.polls,
        asked=facts is not None and facts.understood is not None,
        polled_at=before.polled_at,
    )
