"""Wire words (states, statuses, outcomes, severities) in the viewer's language; JSON keeps them as they are."""

from django.utils.translation import gettext, gettext_noop

_STATES = (
    gettext_noop("pending"),
    gettext_noop("active"),
    gettext_noop("scheduled"),
    gettext_noop("retry"),
    gettext_noop("archived"),
    gettext_noop("completed"),
    gettext_noop("aggregating"),
)
_STATUSES = (
    gettext_noop("NOT_START"),
    gettext_noop("SUBMITTED"),
    gettext_noop("QUEUED"),
    gettext_noop("IN_PROGRESS"),
    gettext_noop("SUCCESS"),
    gettext_noop("FAILURE"),
    gettext_noop("UNKNOWN"),
    gettext_noop("CANCELLED"),
)
_OUTCOMES = (
    gettext_noop("running"),
    gettext_noop("succeeded"),
    gettext_noop("retried"),
    gettext_noop("dead"),
    gettext_noop("cancelled"),
    gettext_noop("polled"),
    gettext_noop("failed"),
    gettext_noop("handed_back"),
    gettext_noop("crashed"),
    gettext_noop("postponed"),
)
_ITEMS = (
    gettext_noop("waiting"),
    gettext_noop("done"),
    gettext_noop("skipped"),
)
_LEVELS = (
    gettext_noop("warning"),
    gettext_noop("critical"),
    gettext_noop("info"),
)
_WORKERS = (
    gettext_noop("quiet"),
    gettext_noop("stopping"),
    gettext_noop("lost"),
)
_LEDGER = (
    gettext_noop("grant"),
    gettext_noop("charge"),
    gettext_noop("refund"),
    gettext_noop("adjustment"),
)
_EVENTS = (
    gettext_noop("submitted"),
    gettext_noop("ended"),
    gettext_noop("worker_lost"),
    gettext_noop("handed_back"),
)
_REASONS = frozenset(
    (
        gettext_noop("task"),
        gettext_noop("failed"),
        gettext_noop("cancelled"),
        gettext_noop("partly billed"),
        gettext_noop("redrive"),
        gettext_noop("deleted"),
        gettext_noop("shards ended"),
        gettext_noop("migration"),
        gettext_noop("cancelled on the command line"),
    )
)


def house_reason(reason: str | None) -> str:
    """A reason that the house itself gave, in the viewer's language; what people wrote stays as they wrote it."""
    return gettext(reason) if reason in _REASONS else reason or ""


def word(wire: str) -> str:
    """The word to show; one that nobody translated stays as it is."""
    return gettext(wire) if wire else ""
