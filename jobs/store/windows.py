"""Redis: counts within a window of time."""

from jobs.store.redis import client, guarded


@guarded
def count_within(key: str, window_s: int) -> tuple[int, float]:
    """Count one more under this key; (count, seconds left) of the window that began with the first."""
    pipe = client().pipeline(transaction=True)
    pipe.set(key, 0, ex=window_s, nx=True)
    pipe.incr(key)
    pipe.pttl(key)
    _, count, left_ms = pipe.execute()
    return int(count), max(0, int(left_ms)) / 1000
