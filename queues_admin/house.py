"""A thread of each web process: notes readings for the rates and stands in for folding while no worker is alive."""

import os
import threading
import time

import structlog
from django.db import DatabaseError, connection

from jobs.operations import readings, standin

log = structlog.get_logger("house")

EVERY_S = 1.0
READ_EVERY = 5

_started = threading.Event()


def start() -> None:
    """Start the thread once; for servers only, never for commands or tests."""
    if not _started.is_set():
        _started.set()
        threading.Thread(target=_run, name="house", daemon=True).start()


def _run() -> None:
    holder, passes = f"web:{os.getpid()}", 0
    while True:
        try:
            standin.fold_if_nobody_does(holder)
            if passes % READ_EVERY == 0:
                readings.note()
        except DatabaseError as error:
            log.info("the database is away", error=str(error).strip())
            connection.close()
        passes += 1
        time.sleep(EVERY_S)
