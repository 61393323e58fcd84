"""The rings' upkeep: who has a place, who is held out, who is woken."""

from jobs.operations import refilling, tickets
from jobs.store import catalog, rings


def tend() -> int:
    """Every queue with pending tasks gets its place in its ring, paused ones are held out; wakes workers for it.

    Returns how many queues got a place.
    """
    known = catalog.queues(fresh=True)
    waiting = refilling.pending_counts().keys() | {row.id for row in known.bases}
    rows = [known.by_id[queue_id] for queue_id in waiting if queue_id in known.by_id]
    rings.set_held([row.name for row in rows if row.paused])
    families: dict[str, list[str]] = {row.name: [] for row in known.bases}
    for row in rows:
        if not row.paused:
            families[known.base(row).name].append(row.name)
    return rings.tend(families, epoch=tickets.epoch())
