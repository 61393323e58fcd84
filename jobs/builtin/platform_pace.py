"""How platforms answered this process lately: counts and times in memory, told with the worker's beat."""

import threading
import time
from collections import deque
from typing import Any

from jobs.operations.breakers import Heard

WINDOW_S = 900.0
BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SLICE_S = 60.0
_MOST = 200


class _Slice:
    """A minute's requests to one platform. `polls_s`: how many polls took at most each of BOUNDS_S, then longer."""

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.answers = dict.fromkeys(Heard, 0)
        self.polls_s = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0


class Pace:
    """Fed by the lanes' threads, read by the beat's. At most 200 platforms: the one asked longest ago is forgotten."""

    def __init__(self) -> None:
        self._slices: dict[int, deque[_Slice]] = {}
        self._lock = threading.Lock()

    def note(self, platform_id: int, heard: Heard, *, poll_s: float | None = None) -> None:
        """One request's answer; `poll_s`: it was a poll, and took so long."""
        now_s = time.monotonic()
        with self._lock:
            found = self._slices.pop(platform_id, None) or deque(maxlen=int(WINDOW_S / _SLICE_S))
            self._slices[platform_id] = found
            if not found or now_s - found[-1].began_s >= _SLICE_S:
                found.append(_Slice(now_s))
            found[-1].answers[heard] += 1
            if poll_s is not None:
                found[-1].polls_s[sum(poll_s > bound for bound in BOUNDS_S)] += 1
                found[-1].total_s += poll_s
            if len(self._slices) > _MOST:
                del self._slices[next(iter(self._slices))]

    def told(self) -> dict[str, dict[str, Any]]:
        """Platform id → its requests of the last WINDOW_S seconds by answer, its polls by time."""
        since_s = time.monotonic() - WINDOW_S
        with self._lock:
            kept = {
                id_: [s for s in all_ if s.began_s >= since_s] for id_, all_ in self._slices.items()
            }
        return {str(id_): _sum(slices) for id_, slices in kept.items() if slices}

    def forget(self) -> None:
        with self._lock:
            self._slices.clear()


def _sum(slices: list[_Slice]) -> dict[str, Any]:
    return {
        **{heard.value: sum(s.answers[heard] for s in slices) for heard in Heard},
        "polls_s": [sum(counts) for counts in zip(*(s.polls_s for s in slices), strict=True)],
        "total_s": round(sum(s.total_s for s in slices), 3),
    }


pace = Pace()
