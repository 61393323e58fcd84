"""Durations as the contract writes them: a number and its unit."""

import re

UNITS_S: dict[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")


def seconds(text: object) -> float:
    """`"250ms"` → 0.25. Raises ValueError for anything without one of the units ms, s, m, h, d."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f'{text!r} is no duration: write a number and its unit, as in "30s"')
    number, unit = found.groups()
    if unit == "ms":
        return float(number) / 1000
    return float(number) * UNITS_S[unit]


def text(duration_s: float) -> str:
    """`300.0` → `"5m"`: in the largest unit that leaves a whole number, as Prometheus has it."""
    ms = round(duration_s * 1000)
    for unit in ("d", "h", "m", "s"):
        size_ms = round(UNITS_S[unit] * 1000)
        if ms >= size_ms and ms % size_ms == 0:
            return f"{ms // size_ms}{unit}"
    return f"{ms}ms" if ms else "0s"
