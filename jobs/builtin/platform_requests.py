"""A platform's share of a batch, cut into requests: each needs a place in the platform's room."""

from collections.abc import Sequence

from jobs.builtin import platform_steps as steps
from jobs.builtin import platform_waits as waits
from jobs.builtin.platform_hearing import Hearing
from jobs.builtin.platform_polls import poll
from jobs.builtin.platform_room import PATIENCE_S, Room
from jobs.builtin.platform_submits import submit
from jobs.builtin.platform_walk import Pair, Walk
from jobs.contract.reader import contract
from jobs.operations.breakers import Heard
from jobs.platforms import base

_CROWDED = "the platform leaves too many requests unanswered"


def cut(pairs: Sequence[Pair], tasks_per_poll: int) -> list[list[Pair]]:
    """One list a request: submits are sent alone, polls as many together as the platform takes."""
    polls = [pair for pair in pairs if pair[1].external_id is not None]
    submits = [[pair] for pair in pairs if pair[1].external_id is None]
    return submits + [
        polls[start : start + tasks_per_poll] for start in range(0, len(polls), tasks_per_poll)
    ]


async def ask(walk: Walk, room: Room, hearing: Hearing, pairs: Sequence[Pair]) -> None:
    """Send one request that was admitted; a crowded room or a breaker that opened meanwhile postpones its tasks."""
    if not await room.enter():
        _postpone(walk, pairs, PATIENCE_S)
        await hearing.hear(None)
        return
    try:
        if hearing.shut:
            _postpone(walk, pairs, contract().breaker.open_s)
            heard = None
        else:
            heard = await _send(walk, pairs)
    finally:
        room.leave()
    await hearing.hear(heard)


async def last(walk: Walk, room: Room, pairs: Sequence[Pair]) -> None:
    """The last request of tasks past their time limit: without a place it counts as unanswered."""
    if not await room.enter():
        for run, facts in pairs:
            unasked = base.TransientPoll(reason=_CROWDED)
            walk.report(steps.polled(run, facts, walk.settings, unasked, stopped=False))
        return
    try:
        await _send(walk, pairs)
    finally:
        room.leave()


async def _send(walk: Walk, pairs: Sequence[Pair]) -> Heard | None:
    if pairs[0][1].external_id is None:
        return await submit(walk, *pairs[0])
    return await poll(walk, pairs)


def _postpone(walk: Walk, pairs: Sequence[Pair], wait_s: float) -> None:
    for run, facts in pairs:
        walk.report(waits.postponed(run, facts, walk.settings, wait_s))
