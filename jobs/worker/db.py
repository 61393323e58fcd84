"""Django's connections in the worker's own threads: each thread has one, and gives it up after an error."""

from typing import Any

from django.db import InterfaceError, OperationalError, connection
from django.db.backends.signals import connection_created

DOWN = (OperationalError, InterfaceError)

_PREPARE_AFTER = 3


def prepare_often_used() -> None:
    """Let this process' connections prepare what they see often, unless the settings decide (poolers)."""
    connection_created.connect(_prepare, dispatch_uid="jobs.worker.prepare")


def reset() -> None:
    """Close this thread's connection; the next statement opens a new one."""
    try:
        connection.close()
    except DOWN:
        connection.connection = None


def _prepare(connection: Any, **_: object) -> None:
    if "prepare_threshold" not in connection.settings_dict.get("OPTIONS", {}):
        connection.connection.prepare_threshold = _PREPARE_AFTER
