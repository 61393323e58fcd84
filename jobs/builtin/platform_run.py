"""`platform:run`: a batch of claimed tasks is taken to their platforms - submitted once, then polled to their end.

The order of writes keeps a crash harmless (E-03): row and charge exist, `submit_started_at` is stored, then the request
leaves. A run that finds it stored without an external id asks the platform, or parks the task; it never sends again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from jobs.builtin import platform_ends as ends
from jobs.builtin import platform_requests as requests
from jobs.builtin import platform_steps as steps
from jobs.builtin import platform_waits as waits
from jobs.builtin.platform_hearing import Hearing
from jobs.builtin.platform_http import client, db
from jobs.builtin.platform_room import room_of
from jobs.builtin.platform_walk import Pair, Quiet, Report, Walk, nobody
from jobs.domain.errors import Misconfigured
from jobs.domain.outcomes import Outcome
from jobs.domain.states import Lane
from jobs.handlers import task
from jobs.handlers.registry import PLATFORM_RUN
from jobs.operations import breakers, gates, platform_facts, platforms
from jobs.operations.breakers import Admission
from jobs.operations.platforms import PlatformSettings
from jobs.operations.runs import Run
from jobs.platforms.registry import adapter_for

log = structlog.get_logger("platforms")


@task(PLATFORM_RUN, queue="scheduled", lane=Lane.PLATFORM)
async def platform_run(payload: dict[str, Any]) -> None:
    """Only declares the type: the worker's platform lane calls `run_platform_batch`."""
    raise Misconfigured("platform:run is run in batches by the worker's platform lane")


async def run_platform_batch(runs: Sequence[Run], report: Callable[[Outcome], object]) -> None:
    """Take every run one step further and report one Outcome each; platforms are asked side by side.

    `report` answers False when nobody settles that run any more (it was taken away meanwhile).
    """
    facts = await db(platform_facts.load, [run.id for run in runs])
    settings = await db(platforms.settings_of, sorted({f.platform_id for f in facts.values()}))
    pairs: list[Pair] = []
    for run in runs:
        known = facts.get(run.id)
        if known is None or known.platform_id not in settings:
            report(ends.lost(run))
        else:
            pairs.append((run, known))
    await _side_by_side(pairs, settings, report)


async def ask_unclaimed(
    pairs: Sequence[Pair],
    settings: Mapping[int, PlatformSettings],
    report: Callable[[Outcome], object],
    quiet: Quiet,
    *,
    taken_s: float,
) -> None:
    """Poll tasks that were taken at `taken_s` without a claim; only news and what has to wait longer is reported.

    `quiet` hears of the others. Each task is told to one of both, once.
    """
    await _side_by_side(pairs, settings, report, taken_s, quiet)


async def _side_by_side(
    pairs: Sequence[Pair],
    settings: Mapping[int, PlatformSettings],
    report: Callable[[Outcome], object],
    taken_s: float | None = None,
    quiet: Quiet = nobody,
) -> None:
    groups: dict[int, list[Pair]] = {}
    for run, facts in pairs:
        groups.setdefault(facts.platform_id, []).append((run, facts))
    await asyncio.gather(
        *(_guarded(settings[id_], group, report, taken_s, quiet) for id_, group in groups.items())
    )


async def _guarded(
    settings: PlatformSettings,
    group: list[Pair],
    report: Callable[[Outcome], object],
    taken_s: float | None,
    quiet: Quiet,
) -> None:
    """One platform's share. A defect in an adapter counts as a contact error of the tasks not yet answered for."""
    cycles = {run.id: facts.cycle for run, facts in group}
    late: list[tuple[Outcome, int]] = []
    reported: set[str] = set()

    def note(outcome: Outcome) -> None:
        reported.add(outcome.task_id)
        if report(outcome) is False:
            late.append((outcome, cycles[outcome.task_id]))

    def pass_by(task_id: str) -> None:
        reported.add(task_id)
        quiet(task_id)

    try:
        await _platform(settings, group, note, taken_s, pass_by)
    except Exception as error:
        log.exception("platform batch failed", platform=settings.config.name)
        for run, facts in group:
            if run.id not in reported:
                text = f"{type(error).__name__}: {error}"
                note(steps.contact_error(run, facts, settings, text, None))
    if late:
        await db(platform_facts.late, late)


async def _platform(
    settings: PlatformSettings,
    group: list[Pair],
    report: Report,
    taken_s: float | None,
    quiet: Quiet,
) -> None:
    """Past its time limit a task has its last poll whatever the rate and the breakers say; all others ask them."""
    if settings.unreadable:
        log.error("no key opens the platform's secrets", platform=settings.config.name)
    if settings.unreadable or not settings.enabled:
        wait_s = waits.NO_KEY_S if settings.unreadable else waits.HELD_S
        for run, facts in group:
            report(waits.disabled(run, facts, settings, wait_s))
        return
    adapter = adapter_for(settings.config, await client())
    size = getattr(adapter, "tasks_per_poll", 1)
    last = requests.cut([pair for pair in group if pair[1].left_s <= 0], size)
    asking = requests.cut([pair for pair in group if pair[1].left_s > 0], size)
    admitted, admission = await _admitted(settings, asking, report)
    walk = Walk(
        settings=settings,
        adapter=adapter,
        report=report,
        closed=admission.closed,
        taken_s=taken_s,
        quiet=quiet,
    )
    room, hearing = room_of(settings.id), Hearing(admission)
    ends_ = await asyncio.gather(
        *(requests.last(walk, room, pairs) for pairs in last),
        *(requests.ask(walk, room, hearing, pairs) for pairs in admitted),
        return_exceptions=True,
    )
    await hearing.write()
    for error in filter(None, ends_):
        raise error


async def _admitted(
    settings: PlatformSettings, asking: list[list[Pair]], report: Report
) -> tuple[list[list[Pair]], Admission]:
    """The requests that may go now; the tasks of others are postponed, each request's by what it waits for."""
    rate = await db(gates.take_rate, settings.id, settings.rate_per_s, len(asking))
    for pairs, wait_s in zip(asking[rate.allowed :], rate.waits_s, strict=True):
        for run, facts in pairs:
            report(waits.postponed(run, facts, settings, wait_s, spread=False))
    name, service = settings.config.name, settings.service
    admission = await db(breakers.admit, name, service, rate.allowed)
    for pairs in asking[admission.allowed : rate.allowed]:
        for run, facts in pairs:
            wait_s = min(admission.wait_s, waits.HELD_S)
            report(waits.postponed(run, facts, settings, wait_s))
    return asking[: admission.allowed], admission


__all__ = ["ask_unclaimed", "platform_run", "run_platform_batch"]
