"""The operators' back office inside the Django admin site; importing it registers its pages."""

from queues_admin.admin import (
    accounts,
    audit,
    django_rq,
    keys,
    people,
    platforms,
    queues,
    schedules,
    tasks,
    workers,
)

__all__ = [
    "accounts",
    "audit",
    "django_rq",
    "keys",
    "people",
    "platforms",
    "queues",
    "schedules",
    "tasks",
    "workers",
]
