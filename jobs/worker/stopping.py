"""The orderly end of a worker, step by step."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from jobs.domain.errors import RedisUnavailable, StaleEpoch
from jobs.domain.states import Lane
from jobs.operations import workers
from jobs.worker import db, handing_back
from jobs.worker.records import Why

if TYPE_CHECKING:
    from jobs.worker.engine import Engine

log = structlog.get_logger("worker")

_FETCH_S = 8.0
_CANCEL_S = 2.0
_SETTLE_S = 5.0
_HOOKS_S = 2.0


def finish(engine: "Engine") -> None:
    """No new fetch, unstarted back, wait, cancel, settle, hand the rest back. Once, on the main thread."""
    engine.stopping = True
    log.info("stopping", running=len(engine.active), grace_s=engine.grace_s)
    engine.wake()
    engine.threads.join("feeder", _FETCH_S)
    engine.threads.join("polls", _FETCH_S)
    _whatever("give back tickets", engine.feeder.give_back)
    _whatever(
        "hand back unstarted",
        lambda: handing_back.records(engine, engine.slots.close(), unstarted=True),
    )
    _wait_for_running(engine)
    _stop_running(engine)
    until(lambda: engine.settler.waiting() == 0, _SETTLE_S)
    left = list(engine.active.values())
    _whatever("hand back running", lambda: handing_back.records(engine, left, unstarted=False))
    until(lambda: engine.settler.hooks.waiting() == 0, _HOOKS_S)
    engine.threads.close()
    _whatever("release duties", engine.leases.release)
    _whatever("retire", lambda: workers.retire(engine.worker_id))
    engine.close_lanes()
    log.info("stopped", worker=engine.options.name)


def until(condition: Callable[[], bool], at_most_s: float) -> None:
    end_s = time.monotonic() + at_most_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.01)


def _wait_for_running(engine: "Engine") -> None:
    """The grace counts from here; a second signal sets it to nothing."""
    started_s = time.monotonic()
    while engine.active and time.monotonic() - started_s < engine.grace_s:
        time.sleep(0.02)


def _stop_running(engine: "Engine") -> None:
    """Handlers on the loop are cancelled and awaited, children killed; threads are only asked."""
    for rec in list(engine.active.values()):
        engine.stop_run(rec, Why.STOPPING, hard=rec.lane is not Lane.THREAD)
    stoppable = [rec for rec in engine.active.values() if rec.lane is not Lane.THREAD]
    until(lambda: all(rec.done for rec in stoppable), _CANCEL_S)


def _whatever(what: str, act: Callable[[], object]) -> None:
    """A stop goes on whatever is away: leases and rescue put right what could not be said."""
    try:
        act()
    except (*db.DOWN, RedisUnavailable, StaleEpoch) as error:
        log.warning("the stop goes on without a store", step=what, error=str(error).strip())
        db.reset()
