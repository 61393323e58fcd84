"""The lanes of one worker and the slots that feed them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings

from jobs.domain.states import Lane
from jobs.worker import execution
from jobs.worker.lanes import LaneRunner
from jobs.worker.lanes.async_lane import AsyncLane
from jobs.worker.lanes.platform_lane import PlatformLane
from jobs.worker.lanes.process_lane import ProcessLane
from jobs.worker.lanes.thread_lane import ThreadLane
from jobs.worker.slots import Slots

if TYPE_CHECKING:
    from jobs.worker.engine import Engine


@dataclass(frozen=True, kw_only=True, slots=True)
class Lanes:
    """All lanes by number, and by name those that the engine asks for more."""

    by_lane: dict[Lane, LaneRunner]
    loop: AsyncLane
    threads: ThreadLane


def make_lanes(engine: "Engine", concurrency: int) -> tuple[Slots, Lanes]:
    """Limits from the settings: threads min(concurrency, 64), children, poll slots."""
    processes = int(settings.TASKCENTER["WORKER_PROCESSES"])
    limits = {
        Lane.ASYNC: concurrency,
        Lane.THREAD: execution.thread_limit(concurrency),
        Lane.PROCESS: processes,
        Lane.PLATFORM: int(settings.TASKCENTER["POLL_SLOTS"]),
    }
    begun = engine.watchdog.watch
    loop = AsyncLane(engine.ended, begun, engine.give_up)
    threads = ThreadLane(engine.ended, begun)
    by_lane: dict[Lane, LaneRunner] = {
        Lane.ASYNC: loop,
        Lane.THREAD: threads,
        Lane.PROCESS: ProcessLane(engine.ended, engine.settle, begun, processes),
        Lane.PLATFORM: PlatformLane(loop, engine.ended, engine.settle, begun),
    }
    slots = Slots(concurrency, limits)
    slots.starts = {lane: runner.start for lane, runner in by_lane.items()}
    return slots, Lanes(by_lane=by_lane, loop=loop, threads=threads)
