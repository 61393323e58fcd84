"""Readings of the counters for the rates: shared, so that every web process tells the same."""

from jobs.store import postgres


def note() -> bool:
    """Keep a reading, at most one every five seconds whoever asks; True when this call kept one."""
    return bool(postgres.fetch("rate_note"))
