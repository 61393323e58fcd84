"""The main thread of a worker process: signals in, an orderly end out."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

import structlog

from jobs.worker import stopping
from jobs.worker.engine import Engine

log = structlog.get_logger("worker")

TICK_S = 1.0
_POLL_S = 0.05


def install_signals(
    engine: Engine, stop: Callable[[int, FrameType | None], None], quiet: Callable[[], None]
) -> None:
    """SIGTERM and SIGINT stop (twice: at once), SIGTSTP makes quiet, SIGTTIN and SIGTTOU add and take a slot."""
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if hasattr(signal, "SIGTSTP"):
        signal.signal(signal.SIGTSTP, lambda _signum, _frame: quiet())
        for number, change in ((signal.SIGTTIN, 1), (signal.SIGTTOU, -1)):
            signal.signal(number, _resizer(engine, change))


def _resizer(engine: Engine, change: int) -> Callable[[int, FrameType | None], None]:
    return lambda _signum, _frame: engine.resize(engine.slots.concurrency + change)


def watch(engine: Engine, tick: Callable[[], None] | None = None) -> None:
    """Stay until a stop is asked for, or the burst is drained; `tick` is called once a second."""
    next_s = 0.0
    while not engine.asked.wait(_POLL_S if engine.burst else TICK_S):
        if engine.burst and engine.drained():
            return
        if tick is not None and time.monotonic() >= next_s:
            next_s = time.monotonic() + TICK_S
            tick()


def run_alone(engine: Engine) -> int:
    """A worker without RQ and Redis, from start to end; returns the exit status."""

    def stop(_signum: int, _frame: FrameType | None) -> None:
        engine.ask_to_stop()

    def quiet() -> None:
        engine.quiet = True
        log.info("quiet: no new tasks")

    install_signals(engine, stop, quiet)
    engine.start()
    watch(engine)
    stopping.finish(engine)
    return engine.exit_code


def leave(status: int) -> None:
    """End the process now: threads that don't end would hold it for ever."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
