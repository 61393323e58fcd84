"""From a claimed row to a callable, and from how it ended to an outcome. The same in worker, child and ticket."""

import asyncio
import inspect
import random
import time
import traceback
from typing import Any

import structlog
from django.conf import settings

from jobs.domain import ids
from jobs.domain.errors import Invalid, Misconfigured, UnknownType
from jobs.domain.outcomes import Kind, Outcome
from jobs.domain.states import Lane, State, Status
from jobs.handlers.context import Context
from jobs.handlers.registry import handler
from jobs.lifecycle import poison
from jobs.lifecycle.backoff import retry_delay_s
from jobs.lifecycle.settlement import (
    Ending,
    Raised,
    Returned,
    RunFacts,
    Stopped,
    TimedOutAfter,
    decide,
)
from jobs.store import sealed
from jobs.worker import middleware
from jobs.worker.records import Active, Why

log = structlog.get_logger("worker")

_UNKNOWN_TYPE_S = 30.0
_UNREADABLE = "OutcomeRefused: how this run ended cannot be read"


def equip(rec: Active) -> Outcome | None:
    """Look up the handler and read the payload; an outcome when the run cannot even begin."""
    run = rec.run
    try:
        rec.handler = found = handler(run.type)
        if rec.lane is Lane.PLATFORM:
            return None
        rec.payload = found.parse_json(sealed.opened(run.payload_json))
        chained = middleware.chain(found)
        if chained is not None or found.takes_context:
            rec.context = _context(rec)
    except (
        UnknownType,
        Misconfigured,
    ) as error:  # a rolling deploy or rotation: another worker has
        # the type or the key; never archive for it
        delay_s = _UNKNOWN_TYPE_S * random.uniform(0.8, 1.2)
        return _plain(rec, Kind.POSTPONED, State.RETRY, str(error), delay_s=delay_s, counts=False)
    except Invalid as error:
        return dead(rec, f"InvalidPayload: {error}")
    if chained is not None:
        rec.call = chained
    return None


def call(rec: Active) -> Any:
    """Call the handler; asynchronous ones give an awaitable back."""
    if rec.call is not None:
        return rec.call(rec.payload, rec.context)
    found = rec.handler
    return (
        found.function(rec.payload, rec.context)
        if found.takes_context
        else found.function(rec.payload)
    )


def bind_log(rec: Active) -> None:
    """Put the run's ids on every log line of the present context."""
    run = rec.run
    structlog.contextvars.bind_contextvars(
        task_id=ids.public_id(run.id), attempt=run.runs, queue=rec.queue, trace_id=run.trace_id
    )


def raised(error: BaseException) -> Raised:
    """The ending for an exception, with its traceback as text for the operator."""
    try:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except BaseException:  # an exception that cannot even be shown
        text = ""
    return Raised(error=error, traceback=text)


def final(rec: Active, ending: Ending) -> Ending | None:
    """How a run that was perhaps stopped from outside ends; None: nothing is settled, its row goes back.

    After a cancellation a success stands. What was asked to make room for a stop may have returned half-way.
    """
    if rec.why is None or (rec.why is Why.CANCEL and isinstance(ending, Returned)):
        return ending
    return stopped(rec)


def stopped(rec: Active) -> Ending | None:
    """The ending of a run that was stopped from outside; None when nothing is to be settled for it."""
    if rec.why is Why.TIMEOUT:
        return TimedOutAfter(
            after_s=max(0.0, time.monotonic() - rec.started_s), deadline=rec.by_deadline
        )
    return Stopped(reason="cancelled") if rec.why is Why.CANCEL else None


def verdict(rec: Active, ending: Ending) -> Outcome:
    """How this run is to be settled."""
    run = rec.run
    found = rec.handler
    facts = RunFacts(
        task_id=run.id,
        token=run.token,
        retried=run.retried,
        max_retries=run.max_retries,
        crashes=run.crashes,
        charged=run.credits > 0,
        status=Status(run.status),
        duration_s=time.monotonic() - rec.started_s if rec.started_s else 0.0,
        policy=found.policy,
    )
    if isinstance(ending, TimedOutAfter):
        ending = TimedOutAfter(after_s=rec.limit_s or ending.after_s, deadline=ending.deadline)
    try:
        return decide(facts, ending, jitter=random.random())
    except (
        BaseException
    ) as error:  # a result, an exception or a policy that breaks whoever reads it
        log.error("ending not readable", task_id=ids.public_id(run.id), error=type(error).__name__)
        return dead(rec, f"{_UNREADABLE}: {type(error).__name__}")


def dead(rec: Active, error: str, *, crashed: bool = False, refund: int | None = None) -> Outcome:
    """Straight to the dead letters. `refund`: what is paid back; None: all."""
    return _plain(
        rec,
        Kind.DEAD,
        State.ARCHIVED,
        error,
        status=Status.FAILURE,
        to_dead_letter=True,
        crashed=crashed,
        refund=refund,
    )


def crashed(rec: Active, how: str) -> Outcome:
    """This task's own child died under it: again, or convicted as poison (the settle counts the crash)."""
    crashes = rec.run.crashes + 1
    text = f"ProcessLost: its process died ({how}) while this task ran alone in it; crash {crashes}"
    if poison.after_crash(crashes, seen_alone=True) is poison.Verdict.DEAD:
        return dead(rec, f"Poison: {text}", crashed=True)
    delay_s = retry_delay_s(crashes, jitter=random.random())
    return _plain(rec, Kind.CRASHED, State.RETRY, text, delay_s=delay_s, counts=False, crashed=True)


def _plain(rec: Active, kind: Kind, state: State, error: str, **more: Any) -> Outcome:
    run = rec.run
    more.setdefault("status", Status(run.status))
    return Outcome(
        task_id=run.id,
        token=run.token,
        kind=kind,
        state=state,
        error=error[:4000],
        charged=run.credits > 0,
        **more,
    )


def _context(rec: Active) -> Context:
    run = rec.run
    limits = [x for x in (run.left_s, run.timeout_ms and run.timeout_ms / 1000) if x is not None]

    def report(percent: int) -> None:
        rec.percent = percent

    return Context(
        task_id=ids.public_id(run.id),
        type=run.type,
        queue=rec.queue,
        attempt=run.runs,
        retried=run.retried,
        left_s=min(limits) if limits else None,
        user_id=run.user_id,
        business_id=run.business_id,
        trace_id=run.trace_id,
        tenant_id=run.tenant_id,
        headers=sealed.headers(run.options_json),
        _report=report,
    )


def is_awaitable(value: Any) -> bool:
    return inspect.isawaitable(value)


def thread_limit(concurrency: int) -> int:
    """How many threads run handlers: the setting, or the concurrency up to 64."""
    return int(settings.TASKCENTER["WORKER_THREADS"]) or min(concurrency, 64)


def run_sync(rec: Active) -> Any:
    """Run to the end on this thread; an asynchronous handler gets a loop of its own."""
    result = call(rec)
    return asyncio.run(_finish(result)) if result is not None and is_awaitable(result) else result


async def _finish(awaitable: Any) -> Any:
    return await awaitable
