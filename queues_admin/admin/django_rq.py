"""django-rq's own pages, for those who may operate queues; out of the box every staff user may empty them."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django_rq import stats_views
from django_rq.admin import QueueAdmin as RQQueueAdmin
from django_rq.models import Dashboard
from django_rq.urls import get_admin_urlpatterns
from rq.exceptions import InvalidJobOperation, NoSuchJobError

from jobs.operations import audits
from queues_admin.admin.base import actor, address, may, read_only, refuse

PERMISSION = "jobs.operate_queue"

# What their views raise for a queue's number, a job's id or a page that there is not.
_NOT_THERE = (LookupError, ValueError, NoSuchJobError, InvalidJobOperation)


class GuardedRQAdmin(RQQueueAdmin):
    """Their views behind our permission; changes are audited. No page of theirs takes a token instead."""

    def get_urls(self) -> list[URLPattern]:
        patterns: list[URLPattern] = get_admin_urlpatterns("django_rq_", self._wrap)
        numbers = self._wrap(stats_views.stats_json)
        metrics = self._wrap(stats_views.prometheus_metrics)
        return [
            path("stats.json", numbers, name="django_rq_home_json"),
            path("metrics", metrics, name="django_rq_metrics"),
            *patterns,
        ]

    def _wrap(self, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        guarded = self.admin_site.admin_view(_guarded(view))

        @wraps(view)
        def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            request.current_app = self.admin_site.name
            return guarded(request, *args, **kwargs)

        return wrapper

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False  # no block of its own on the first page: Redis Info leads there

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request, PERMISSION)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request, PERMISSION)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _why(request: HttpRequest) -> str:
    if may(request, PERMISSION):
        return "read-only (ASYNQ_READONLY)"
    return f"needs {PERMISSION}"


def _guarded(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        changes = request.method not in ("GET", "HEAD", "OPTIONS")
        allowed = may(request, PERMISSION) and not (changes and read_only())
        if not allowed:
            if changes:
                refuse(
                    request, action="rq." + view.__name__, target=request.path, why=_why(request)
                )
            raise PermissionDenied
        try:
            response = view(request, *args, **kwargs)
        except _NOT_THERE as error:
            raise Http404(_("There is no such page of django-rq.")) from error
        if changes:
            audits.record(
                actor=actor(request),
                address=address(request),
                action="rq." + view.__name__,
                target=request.path,
            )
        return response

    return guarded


if admin.site.is_registered(Dashboard):
    admin.site.unregister(Dashboard)
admin.site.register(Dashboard, GuardedRQAdmin)
