"""A child that does not outlive its parent (Linux; elsewhere children notice their closed pipe)."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent_pid: int | None = None, *, by: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel to kill this process when its parent dies; exits at once if that happened already."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(by))
    if parent_pid is not None and os.getppid() != parent_pid:
        os._exit(1)
