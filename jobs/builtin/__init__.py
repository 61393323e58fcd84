"""The handlers that come with the house; importing this package registers them."""

from django.conf import settings

from jobs.builtin import (
    cleanup,
    data_sync,
    email,
    http_callback,
    periodic,
    plans,
    platform_cancel,
    platform_run,
    reports,
    sweep,
)

__all__ = [
    "cleanup",
    "data_sync",
    "email",
    "http_callback",
    "periodic",
    "plans",
    "platform_cancel",
    "platform_run",
    "reports",
    "sweep",
]

if settings.TASKCENTER["DIAGNOSTICS"]:
    from jobs.builtin import diagnostics

    __all__ += ["diagnostics"]
