"""Sessions, logins and messages are for the pages; a program's request passes them by."""

from collections.abc import Awaitable

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

_PROGRAMS = ("/api/", "/metrics", "/healthz", "/readyz")


class _PagesOnly(MiddlewareMixin):
    """Cookies mean nothing to programs, and reading them costs a tenth of a submit."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if request.path_info.startswith(_PROGRAMS):
            return self.get_response(request)
        return super().__call__(request)


class Sessions(_PagesOnly, SessionMiddleware):
    """Django's, for pages."""


class Logins(_PagesOnly, AuthenticationMiddleware):
    """Django's, for pages."""


class Messages(_PagesOnly, MessageMiddleware):
    """Django's, for pages."""
