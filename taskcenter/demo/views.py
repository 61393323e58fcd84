"""`/demo/mails/`: what the demo's mail server received, for staff."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from taskcenter.demo import mail_sink


def folder() -> Path:
    return Path(settings.DATA_DIR) / "demo-mails"


@require_safe
@admin.site.admin_view
def mails(request: HttpRequest) -> HttpResponse:
    """Newest first, at most KEPT."""
    return _page(
        request,
        "demo/mails.html",
        title=_("Delivered e-mails"),
        mails=mail_sink.delivered(folder()),
    )


@require_safe
@admin.site.admin_view
def mail(request: HttpRequest, name: str) -> HttpResponse:
    found = mail_sink.find(folder(), name)
    if found is None:
        raise Http404
    return _page(request, "demo/mail.html", title=found.subject, mail=found)


def _page(request: HttpRequest, template: str, **facts: Any) -> HttpResponse:
    return render(request, template, {**admin.site.each_context(request), **facts})
