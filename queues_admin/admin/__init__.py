"""The operators' back office inside the Django admin site; importing it registers its pages."""

from django.contrib import admin

from queues_admin.admin import (
    accounts,
    audit,
    breakers,
    django_rq,
    keys,
    people,
    plans,
    platforms,
    queues,
    schedules,
    tasks,
    tenants,
    workers,
)

__all__ = [
    "accounts",
    "audit",
    "breakers",
    "django_rq",
    "keys",
    "people",
    "plans",
    "platforms",
    "queues",
    "schedules",
    "tasks",
    "tenants",
    "workers",
]

admin.site.site_header = admin.site.site_title = "Task Center"
admin.site.index_template = "back_office/home.html"
admin.site.enable_nav_sidebar = False  # the menu of the guide stands above every page
