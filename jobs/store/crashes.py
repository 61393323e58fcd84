"""Named points where tests let a process die as if by `kill -9`; only with diagnostics and TASKCENTER_CRASH_AT."""

import functools
import os
import sys

from django.conf import settings

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
)


def crash_point(name: str) -> None:
    """Die here, without any clean-up, when the environment names this point."""
    if name == _wanted():
        sys.stderr.flush()
        os._exit(137)


@functools.cache
def _wanted() -> str:
    return os.environ.get("TASKCENTER_CRASH_AT", "") if settings.TASKCENTER["DIAGNOSTICS"] else ""
