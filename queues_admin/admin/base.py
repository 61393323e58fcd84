"""What the back office's pages share: routes with a permission, the site's look, who is asking."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from jobs.operations import audits

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin

View = Callable[..., HttpResponse]


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A page below its model's address. `name` becomes `admin:jobs_<model>_<name>`.

    `permission` is needed to open it; a page that changes something checks its own on top.
    """

    path: str
    view: View
    name: str
    permission: str


class BackOffice(_ModelAdmin):
    """A model whose pages are ours alone: nothing is added, changed or deleted through Django's forms."""

    actions = None

    def routes(self) -> list[Route]:
        """The first one is the list."""
        raise NotImplementedError

    def get_urls(self) -> list[URLPattern]:
        model = self.model._meta.model_name
        urls: list[URLPattern] = []
        for route in self.routes():
            view = self.admin_site.admin_view(_guarded(route))
            urls.append(path(route.path, view, name=f"jobs_{model}_{route.name}"))
        return urls

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request, f"jobs.view_{self.model._meta.model_name}")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def page(
    request: HttpRequest, template: str, *, title: str, status: int = 200, **facts: Any
) -> HttpResponse:
    """A page of the back office in the admin's frame."""
    context = {**admin.site.each_context(request), "title": title, **facts}
    return TemplateResponse(request, f"back_office/{template}", context, status=status)


def may(request: HttpRequest, *permissions: str) -> bool:
    """Whether the user has all of these."""
    user = request.user
    return bool(user.is_active and user.is_staff and user.has_perms(permissions))


def read_only() -> bool:
    return bool(settings.ASYNQ_READONLY)


def actor(request: HttpRequest) -> str:
    """How events, the ledger and the audit log name a person."""
    return f"user:{request.user.get_username()}"


def address(request: HttpRequest) -> str:
    """Where a request came from; behind n trusted proxies the n-th forwarded address from the right."""
    proxies = int(settings.TASKCENTER.get("TRUSTED_PROXIES", 0))
    forwarded = [
        a.strip() for a in request.headers.get("X-Forwarded-For", "").split(",") if a.strip()
    ]
    if proxies and len(forwarded) >= proxies:
        return forwarded[-proxies][:64]
    return str(request.META.get("REMOTE_ADDR", ""))


def refuse(request: HttpRequest, *, action: str, target: str, why: str) -> None:
    """Note an attempt that was refused."""
    audits.record(
        actor=actor(request),
        address=address(request),
        action=action,
        target=target,
        reason=why,
        refused=True,
    )


def _guarded(route: Route) -> View:
    @wraps(route.view)
    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not may(request, route.permission):
            if request.method == "POST":
                match = request.resolver_match
                action = str(match.url_name) if match is not None else route.name
                refuse(request, action=action, target=request.path, why=f"needs {route.permission}")
            raise PermissionDenied
        if any("\x00" in part for part in kwargs.values() if isinstance(part, str)):
            raise Http404  # no name that PostgreSQL keeps holds one, and it would not even be asked
        return route.view(request, *args, **kwargs)

    return never_cache(require_http_methods(["GET", "HEAD", "POST"])(view))
