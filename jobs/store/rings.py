"""Redis: rings of the queues that hold tickets, queues held out of them, and tenants that may run only so much."""

from collections.abc import Iterable, Mapping, Sequence

from jobs.domain.states import Lane
from jobs.store import keys
from jobs.store.redis import client, guarded, script

_CHUNK = 200


@guarded
def tend(families: Mapping[str, Sequence[str]], *, epoch: int) -> int:
    """Heal the rings of each base (base → its queues with pending tasks) and wake workers for what waits.

    Returns how many queues got a place. Raises StaleEpoch.
    """
    pipe = client().pipeline(transaction=False)
    for base, queues in families.items():
        for lane in keys.LISTED:
            suffix = keys.SUFFIXES.get(Lane(lane), "")
            for at in range(0, max(len(queues), 1), _CHUNK):
                script("tend")(
                    keys=[keys.EPOCH, keys.ring(base, lane)],
                    args=[epoch, suffix, *queues[at : at + _CHUNK]],
                    client=pipe,
                )
    return sum(int(n) for n in pipe.execute())


@guarded
def lengths(rings: Sequence[str]) -> list[int]:
    """About how many tickets each ring's queues hold."""
    return [int(n) for n in script("lengths")(keys=list(rings))] if rings else []


@guarded
def hold(queues: Sequence[str]) -> None:
    """Leave these queues out of their rings until `set_held` says otherwise."""
    if queues:
        script("hold")(keys=[keys.HELD], args=[0, *queues])


@guarded
def set_held(queues: Sequence[str]) -> None:
    """Hold out these queues and no others."""
    script("hold")(keys=[keys.HELD], args=[1, *queues])


@guarded
def set_limits(limits: Mapping[str, int]) -> None:
    """Most tickets of each tenant (by slug) that workers may hold at once; tenants left out have no limit."""
    pipe = client().pipeline(transaction=True)
    pipe.delete(keys.LIMITS)
    if limits:
        pipe.hset(keys.LIMITS, mapping={slug: str(most) for slug, most in limits.items()})
    pipe.execute()


@guarded
def add_running(running: Mapping[str, Iterable[str]]) -> None:
    """Count these tasks (tenant's slug → ids) as running."""
    pipe = client().pipeline(transaction=False)
    for slug, ids in running.items():
        pipe.sadd(keys.running(slug), *ids)
    pipe.execute()


@guarded
def running(slugs: Sequence[str]) -> dict[str, set[str]]:
    """What is counted as running, by tenant."""
    pipe = client().pipeline(transaction=False)
    for slug in slugs:
        pipe.smembers(keys.running(slug))
    return {slug: set(ids) for slug, ids in zip(slugs, pipe.execute(), strict=True) if ids}


@guarded
def forget_running(stale: Mapping[str, Iterable[str]]) -> None:
    """These tasks run no longer. Their tenants' places in the rings come back with the next tending."""
    pipe = client().pipeline(transaction=False)
    for slug, ids in stale.items():
        pipe.srem(keys.running(slug), *ids)
    pipe.execute()
