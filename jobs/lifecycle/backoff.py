"""How long to wait before a retry."""

_MOST_DOUBLINGS = 60


def retry_delay_s(
    retried: int, *, base_s: float = 1.0, cap_s: float = 300.0, jitter: float
) -> float:
    """Seconds before the retry after `retried` earlier ones; `jitter` in [0, 1) is chance.

    Equal jitter over a doubling span: [base, 2 base), [2 base, 4 base) … up to [cap/2, cap),
    so never above `cap_s`.
    """
    span_s = doubling_s(retried + 1, first_s=base_s, last_s=cap_s)
    return span_s / 2 + span_s / 2 * jitter


def doubling_s(step: int, *, first_s: float, last_s: float) -> float:
    """`first_s` doubled `step` times, at most `last_s`."""
    return min(last_s, first_s * 2.0 ** min(max(step, 0), _MOST_DOUBLINGS))
