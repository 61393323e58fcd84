"""What somebody sees after too many wrong passwords."""

from typing import Any

import structlog
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from queues_admin.admin.base import address

log = structlog.get_logger("login")


def locked_out(
    request: HttpRequest, credentials: Any = None, *_args: Any, **_kw: Any
) -> HttpResponse:
    """The same page whatever was typed; how long it still lasts is not told, only the whole pause."""
    pause_s = round(settings.AXES_COOLOFF_TIME.total_seconds())
    log.warning("login locked", address=address(request))
    context = {
        **admin.site.each_context(request),
        "title": _("Too many attempts"),
        "minutes": max(1, -(-pause_s // 60)),
    }
    page = TemplateResponse(request, "back_office/locked.html", context, status=429)
    page["Retry-After"] = str(pause_s)
    return page.render()
