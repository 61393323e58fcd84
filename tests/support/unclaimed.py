"""Polls without a claim, made by hand: tasks whose poll is due, taken and asked about."""

from jobs.builtin import platform_asking
from jobs.builtin.platform_asking import Asking, Heard
from jobs.operations import duties
from jobs.operations.tasks import Submitted
from jobs.store import catalog, postgres
from tests.support.platforms import Pump, ask, fact


def unchanging(platform: str = "stub") -> Submitted:
    """A task whose answers stay the same once the platform works on it: its progress is 0 % for long."""
    return ask(platform, never_ends=True, seconds=100_000)


def processing(pump: Pump, *platforms: str) -> list[Submitted]:
    """Such tasks that their platforms work on; the next polls are due now."""
    made = [unchanging(name) for name in platforms or ("stub",)]
    pump.until(
        lambda: all(fact(m, "raw_status = 'processing' AND poll_at IS NOT NULL") for m in made)
    )
    due(*made)
    return made


def due(*made: Submitted) -> None:
    postgres.query(
        "UPDATE platform_task SET poll_at = clock_timestamp() - interval '1 millisecond'"
        " WHERE task_id = ANY(%s) AND poll_at IS NOT NULL RETURNING 1",
        [[m.id for m in made]],
    )


def take(*queue_names: str) -> Asking:
    """The polls that are due in these queues, or in all."""
    rows = catalog.queues().rows
    ids = [q.id for q in rows if not queue_names or q.name in queue_names]
    return platform_asking.take(ids, 100, floor=duties.EPOCH_ZERO)


def heard(pump: Pump, asking: Asking) -> list[Heard]:
    """The news that asking brings."""
    news: list[Heard] = []
    pump._loop.run_until_complete(platform_asking.ask(asking, news.append))
    return news
