"""How many tasks of a key may run at once, and how many may start in a time."""

import re

import msgspec

from jobs.domain.errors import Invalid

MOST_AT_ONCE = 10_000
MOST_STARTS = 1_000_000
KEY_CHARS = 200

_RATE = re.compile(r"([1-9][0-9]{0,6})/(s|m|h)")
_PERIODS_S = {"s": 1, "m": 60, "h": 3600}


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`concurrency`: runs at once over all workers; `rate`: starts in a time, as `100/m` (s, m, h)."""

    concurrency: int | None = None
    rate: str | None = None

    @property
    def starts(self) -> tuple[int, int] | None:
        """(starts, seconds) of the rate; None when it has none."""
        found = _RATE.fullmatch(self.rate) if self.rate is not None else None
        return (int(found[1]), _PERIODS_S[found[2]]) if found else None


def limit_of(given: object) -> Limit:
    """A limit as callers may write it (3, {"rate": "100/m"}, a Limit), checked. Raises Invalid."""
    try:
        known = msgspec.convert(given, int | Limit)
    except msgspec.ValidationError as error:
        raise Invalid(
            "`limit` cannot be read: %(reason)s", reason=str(error), field="limit"
        ) from error
    limit = known if isinstance(known, Limit) else Limit(concurrency=known)
    if limit.concurrency is None and limit.rate is None:
        raise Invalid("`limit` is a number, or names `concurrency`, `rate` or both", field="limit")
    if limit.concurrency is not None and not 1 <= limit.concurrency <= MOST_AT_ONCE:
        raise Invalid(
            "A concurrency is between 1 and %(most)s",
            most=MOST_AT_ONCE,
            field="limit",
            given=limit.concurrency,
        )
    if limit.rate is not None and not 1 <= (limit.starts or (0, 0))[0] <= MOST_STARTS:
        raise Invalid(
            "A rate is 1 to %(most)s starts per second, minute or hour, such as 100/m",
            most=MOST_STARTS,
            field="limit",
            given=limit.rate,
        )
    return limit


def check_key(key: object) -> str:
    """The key as it may be stored. Raises Invalid."""
    if not isinstance(key, str) or not 1 <= len(key) <= KEY_CHARS:
        raise Invalid("`limit_key` has 1 to %(most)s characters", most=KEY_CHARS, field="limit_key")
    return key


def rate_text(starts: int, per_s: int) -> str:
    """The stored rate as callers write it."""
    unit = next(name for name, seconds in _PERIODS_S.items() if seconds == per_s)
    return f"{starts}/{unit}"
