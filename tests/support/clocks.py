"""A process whose host's clock is wrong: a few lines of C before the C library's own."""

import shutil
import subprocess
from pathlib import Path

import pytest

_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long shift(void) { const char *s = getenv("CLOCK_SHIFT_S"); return s ? atol(s) : 0; }

int clock_gettime(clockid_t clock, struct timespec *at) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int failed = real(clock, at);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += shift();
  return failed;
}
int gettimeofday(struct timeval *at, void *zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
"""


class Clocks:
    """The shim as a library in `folder`; skips where there is no C compiler."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("a wrong clock needs a C compiler (cc)")
        source, self._library = folder / "clock.c", folder / "clock.so"
        source.write_text(_SHIM)
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-o", str(self._library), str(source), "-ldl"],
            check=True,
            timeout=60,
        )

    def env(self, seconds: int) -> dict[str, str]:
        """The environment of a process whose wall clock is so many seconds ahead (negative: behind)."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_SHIFT_S": str(seconds)}
