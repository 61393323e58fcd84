"""Named points where tests let a process die as if by `kill -9`; only with diagnostics and TASKCENTER_CRASH_AT."""

import functools
import os
import sys

from django.conf import settings
from django.db import transaction

POINTS = (
    "after_commit",
    "after_fetch",
    "after_claim",
    "after_accept",
    "after_run",
    "after_settle",
    "polls_taken",
    "polls_claimed",
    "deletion_begun",
    "deletion_emptied",
    "entries_written",
    "balances_moved",
    "books_committed",
)


def crash_point(name: str) -> None:
    """Die here, without any clean-up, when the environment names this point."""
    if name == _wanted():
        sys.stderr.flush()
        os._exit(137)


def crash_at_commit(name: str) -> None:
    """Die here as soon as the present transaction has committed, before anybody is answered."""
    if name == _wanted():
        transaction.on_commit(lambda: crash_point(name), robust=True)


@functools.cache
def _wanted() -> str:
    return os.environ.get("TASKCENTER_CRASH_AT", "") if settings.TASKCENTER["DIAGNOSTICS"] else ""
