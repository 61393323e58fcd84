"""Long-polls: one thread asks for all that wait, so that a hundred callers cost one small query."""

import threading
import time
from uuid import UUID

import structlog
from django.conf import settings
from django.db import DatabaseError, connection

from jobs.selectors import tasks

log = structlog.get_logger("api")

ASK_EVERY_S = 0.2
PER_KEY = 20


class _Waiter:
    def __init__(self, task_id: UUID, caller: str) -> None:
        self.task_id = task_id
        self.caller = caller
        self.ended = threading.Event()


_lock = threading.Lock()
_waiters: set[_Waiter] = set()
_asking = False


def until_ended(task_id: UUID, timeout_s: float, *, caller: str) -> bool:
    """Wait until the task has ended; False after `timeout_s`, or at once when too many wait already."""
    waiter = _enter(task_id, caller)
    if waiter is None:
        return False
    try:
        return waiter.ended.wait(timeout_s)
    finally:
        with _lock:
            _waiters.discard(waiter)


def most_waits() -> int:
    """Half of the threads that serve requests in this process."""
    return int(settings.TASKCENTER["WEB_THREADS"]) // 2


def _enter(task_id: UUID, caller: str) -> _Waiter | None:
    global _asking
    with _lock:
        of_caller = sum(1 for waiter in _waiters if waiter.caller == caller)
        if len(_waiters) >= most_waits() or of_caller >= PER_KEY:
            return None
        waiter = _Waiter(task_id, caller)
        _waiters.add(waiter)
        if not _asking:
            _asking = True
            threading.Thread(target=_ask, name="long-polls", daemon=True).start()
    return waiter


def _ask() -> None:
    """Ends, and gives its connection back, when nobody waits any more."""
    global _asking
    try:
        while True:
            time.sleep(ASK_EVERY_S)
            with _lock:
                waiting = list(_waiters)
                if not waiting:
                    _asking = False
                    return
            _release_ended(waiting)
    finally:
        connection.close()


def _release_ended(waiting: list[_Waiter]) -> None:
    try:
        going_on = tasks.unfinished({waiter.task_id for waiter in waiting})
    except DatabaseError as error:
        log.info("long-polls cannot be answered now", error=str(error).strip())
        connection.close()
        return
    for waiter in waiting:
        if waiter.task_id not in going_on:
            waiter.ended.set()
