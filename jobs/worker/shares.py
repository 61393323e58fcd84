"""Who gives how much, by weight: shares hold over many fetches, whatever their size, and idle ones save nothing up."""

import heapq
from collections.abc import Mapping


class Shares:
    """Start-time fair queueing. Each name has a time that goes on by 1 / weight with each ticket it gives.

    Who is furthest behind gives next. Whoever had nothing for a while starts again at the time of the others.
    """

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        self._now = 0.0

    def split(
        self, weights: Mapping[str, float], want: int, lengths: Mapping[str, int]
    ) -> dict[str, int]:
        """How many of `want` each name should give, in the order in which they should be asked.

        Among those that are as far behind the heavier one comes first, then the longer one.
        """
        times = {name: max(self._times.get(name, 0.0), self._now) for name in weights}
        order = sorted(weights, key=lambda n: (times[n], -weights[n], -lengths.get(n, 0)))
        counts = [0] * len(order)
        steps = [1 / weights[name] for name in order]
        next_ = [(times[name], place) for place, name in enumerate(order)]
        heapq.heapify(next_)
        for _ in range(want if next_ else 0):
            at, place = next_[0]
            counts[place] += 1
            heapq.heapreplace(next_, (at + steps[place], place))
        return dict(zip(order, counts, strict=True))

    def gave(
        self, weights: Mapping[str, float], shares: Mapping[str, int], given: Mapping[str, int]
    ) -> None:
        """Count what each name gave of its share. Less than its share: it has no more."""
        busy: list[float] = []
        for name, weight in weights.items():
            started = max(self._times.get(name, 0.0), self._now)
            count = given.get(name, 0)
            self._times[name] = started + count / weight
            if count and count >= shares.get(name, 0):
                busy.append(self._times[name])
            elif shares.get(name, 0) == 0:
                busy.append(started)  # far ahead: it was not asked
        if busy:
            self._now = max(self._now, min(busy))
        elif any(given.values()):
            self._now = max(self._now, *(self._times[name] for name, n in given.items() if n))
