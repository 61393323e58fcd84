"""Named points at which tests let a worker die as if by `kill -9`; inert without TASKCENTER_CRASH_AT."""

import os
import sys

POINTS = ("after_fetch", "after_claim", "after_run", "after_settle")

_wanted = os.environ.get("TASKCENTER_CRASH_AT", "")


def crash_point(name: str) -> None:
    """Die here, without any clean-up, when the environment names this point."""
    if name == _wanted:
        sys.stderr.flush()
        os._exit(137)
