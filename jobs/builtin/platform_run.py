"""`platform:run`: a batch of claimed tasks is taken to their platforms - submitted once, then polled to their end.

The order of writes keeps a crash harmless (E-03): row and charge exist, `submit_started_at` is stored, then the request
leaves. A run that finds it stored without an external id asks the platform, or parks the task; it never sends again.
"""

import asyncio
import weakref
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec, TypeVar

import msgspec
import structlog
from django.db import InterfaceError, OperationalError, connection

from jobs.builtin import platform_steps as steps
from jobs.domain import ids
from jobs.domain.errors import Misconfigured
from jobs.domain.outcomes import Outcome, Retry
from jobs.domain.states import Lane
from jobs.handlers import Context, task
from jobs.handlers.registry import PLATFORM_RUN
from jobs.lifecycle import polling
from jobs.operations import breakers, platforms
from jobs.operations.platforms import PlatformFactsRow, PlatformSettings
from jobs.operations.runs import Run
from jobs.platforms import base
from jobs.platforms.http import make_client
from jobs.platforms.registry import adapter_for

log = structlog.get_logger("platforms")

_P = ParamSpec("_P")
_T = TypeVar("_T")
Report = Callable[[Outcome], None]


@task(PLATFORM_RUN, queue="scheduled", lane=Lane.PLATFORM)
async def platform_run(payload: dict[str, Any]) -> None:
    """Only declares the type: the worker's platform lane calls `run_platform_batch`."""
    raise Misconfigured("platform:run is run in batches by the worker's platform lane")


class CancelUpstream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    task_id: str


@task("platform:cancel", queue="critical", retention_s=3600)
async def cancel_upstream(payload: CancelUpstream, context: Context) -> dict[str, str]:
    """Ask a platform to stop a task that we have ended already; its late answer changes nothing here."""
    facts = (await _db(platforms.load, [payload.task_id])).get(payload.task_id)
    if facts is None or facts.external_id is None:
        return {"answer": "nothing to cancel"}
    settings = (await _db(platforms.settings_of, [facts.platform_id]))[facts.platform_id]
    adapter = adapter_for(settings.config, _client())
    answer = await adapter.cancel(steps.poll_request(facts))
    if isinstance(answer, base.CancelTransient):
        raise Retry(answer.retry_after_s, reason=answer.reason)
    return {"answer": type(answer).__name__}


async def run_platform_batch(runs: Sequence[Run], report: Report) -> None:
    """Take every run one step further and report one Outcome each; platforms are asked side by side."""
    facts = await _db(platforms.load, [run.id for run in runs])
    settings = await _db(platforms.settings_of, sorted({f.platform_id for f in facts.values()}))
    groups: dict[int, list[tuple[Run, PlatformFactsRow]]] = {}
    for run in runs:
        known = facts.get(run.id)
        if known is None or known.platform_id not in settings:
            report(steps.lost(run))
        else:
            groups.setdefault(known.platform_id, []).append((run, known))
    await asyncio.gather(*(_guarded(settings[id_], group, report) for id_, group in groups.items()))


async def _guarded(
    settings: PlatformSettings, group: list[tuple[Run, PlatformFactsRow]], report: Report
) -> None:
    """One platform's share. A defect in an adapter counts as a contact error of the tasks not yet reported."""
    reported: set[str] = set()

    def note(outcome: Outcome) -> None:
        reported.add(outcome.task_id)
        report(outcome)

    try:
        await _platform(settings, group, note)
    except Exception as error:
        log.exception("platform batch failed", platform=settings.config.name)
        for run, facts in group:
            if run.id not in reported:
                report(
                    steps.contact_error(
                        run, facts, settings, f"{type(error).__name__}: {error}", None
                    )
                )


async def _platform(
    settings: PlatformSettings, group: list[tuple[Run, PlatformFactsRow]], report: Report
) -> None:
    """Past its time limit a task has its last poll even through an open breaker; all others ask the breaker."""
    if not settings.enabled:
        for run, facts in group:
            report(steps.disabled(run, facts, settings))
        return
    name = settings.config.name
    last = [(run, facts) for run, facts in group if facts.left_s <= 0]
    asking = [(run, facts) for run, facts in group if facts.left_s > 0]
    allowed, wait_s, started_at_s = await _db(breakers.admit, name, len(asking))
    for run, facts in asking[allowed:]:
        report(steps.postponed(run, facts, settings, wait_s))
    admitted = [*last, *asking[:allowed]]
    if not admitted:
        return
    adapter = adapter_for(settings.config, _client())
    polls = [(r, f) for r, f in admitted if f.external_id is not None]
    submits = [(r, f) for r, f in admitted if f.external_id is None]
    work: list[Coroutine[Any, Any, list[bool]]] = [
        _submit(adapter, settings, r, f, report) for r, f in submits
    ]
    if polls:
        work.append(_poll(adapter, settings, polls, report))
    answers = [ok for oks in await asyncio.gather(*work) for ok in oks]
    await _db(breakers.record, name, answers, started_at_s)


async def _submit(
    adapter: base.Adapter,
    settings: PlatformSettings,
    run: Run,
    facts: PlatformFactsRow,
    report: Report,
) -> list[bool]:
    if facts.left_s <= 0:
        report(steps.expired(run, facts, settings))
        return []
    if facts.submit_started:
        return await _look_up(adapter, settings, run, facts, report)
    if not await _db(platforms.begin_submit, run.id):
        return await _look_up(adapter, settings, run, facts, report)
    request = base.SubmitRequest(
        task_id=ids.public_id(run.id),
        reference=steps.reference(run, facts),
        payload=msgspec.json.decode(run.payload_json),
    )
    answer = await adapter.submit(request)
    match answer:
        case base.Accepted():
            report(steps.accepted(run, facts, settings, answer))
        case base.Rejected(reason=reason):
            report(steps.rejected(run, facts, reason))
        case base.Ambiguous(reason=reason):
            return [False, *await _look_up(adapter, settings, run, facts, report, reason)]
        case base.Transient(reason=reason, retry_after_s=after_s):
            await _db(platforms.submit_not_sent, run.id)
            report(steps.contact_error(run, facts, settings, reason, after_s))
            return [False]
    return [True]


async def _look_up(
    adapter: base.Adapter,
    settings: PlatformSettings,
    run: Run,
    facts: PlatformFactsRow,
    report: Report,
    reason: str = "a submit left and its answer is unknown",
) -> list[bool]:
    """An ambiguous submit: ask by our reference where the platform can, else park until the time limit."""
    if not adapter.supports_lookup:
        report(steps.parked_unknown(run, facts, reason))
        return []
    found = await adapter.lookup(steps.reference(run, facts))
    match found:
        case base.Accepted():
            report(steps.accepted(run, facts, settings, found))
            return [True]
        case base.Transient(reason=why, retry_after_s=after_s):
            report(steps.contact_error(run, facts, settings, why, after_s))
            return [False]
    if facts.contact_errors > 0:  # lists over there may lag: only the second "not here" is believed
        await _db(platforms.submit_not_sent, run.id)
    report(
        steps.contact_error(run, facts, settings, f"{reason}; the platform does not know it", None)
    )
    return [True]


async def _poll(
    adapter: base.Adapter,
    settings: PlatformSettings,
    polls: list[tuple[Run, PlatformFactsRow]],
    report: Report,
) -> list[bool]:
    answers = await adapter.poll([steps.poll_request(facts) for _, facts in polls])
    oks: list[bool] = []
    for run, facts in polls:
        answer = answers.get(
            run.id, base.TransientPoll(reason="the adapter gave no answer for this task")
        )
        decision, outcome = steps.polled(run, facts, settings, answer)
        if decision is polling.Step.EXPIRE:
            cancelled = await adapter.cancel(steps.poll_request(facts))
            log.warning(
                "time limit",
                task_id=ids.public_id(run.id),
                upstream_cancel=type(cancelled).__name__,
            )
        report(outcome)
        oks.append(not isinstance(answer, base.TransientPoll))
    return oks


_clients: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def _client() -> Any:
    """One pooled client per event loop."""
    key = asyncio.get_running_loop()
    if key not in _clients:
        _clients[key] = make_client()
    return _clients[key]


async def _db(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a store function on a thread; a broken connection is dropped, so that the next call gets a new one."""

    def call() -> _T:
        try:
            return function(*args, **kwargs)
        except (OperationalError, InterfaceError):
            connection.close()
            raise

    return await asyncio.to_thread(call)


__all__ = ["cancel_upstream", "platform_run", "run_platform_batch"]
