"""Tasks that are UNKNOWN or lost on their platform: its own words beside ours, and what may be done."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from jobs.domain.errors import Malformed
from jobs.models import Platform
from jobs.selectors import platform_silence
from jobs.selectors.platform_silence import SilentView
from jobs.selectors.tenants import slugs
from queues_admin.admin.base import page
from queues_admin.admin.keyset import with_query
from queues_admin.admin.task_page import buttons, pretty

SIZE = 50
_MINUTES = (0, 1, 5, 15, 60, 360)


def silence(request: HttpRequest) -> HttpResponse:
    """Longest silence first; `minutes` and `platform` stand in the address."""
    minutes = _minutes(request)
    chosen = request.GET.get("platform", "").strip().replace("\x00", "")
    platform_id = _platform_id(chosen)
    try:
        shown = platform_silence.silent(
            for_s=minutes * 60.0,
            platform_id=platform_id,
            after=request.GET.get("cursor") or None,
            limit=SIZE,
        )
    except Malformed:
        raise Http404 from None
    ended = platform_silence.given_up(platform_id=platform_id, limit=SIZE)
    known = slugs(view.tenant_id for view in (*shown.items, *ended))
    older = with_query(request, cursor=shown.next_cursor) if shown.next_cursor else None
    return page(
        request,
        "platform_silence.html",
        title=_("UNKNOWN or lost on their platform"),
        lines=[_line(request, view, known) for view in shown.items],
        ended=[_line(request, view, known) for view in ended],
        total=shown.estimated_total,
        size=SIZE,
        minutes=minutes,
        choices=sorted({*_MINUTES, minutes}),
        platform=chosen,
        platforms=list(Platform.objects.order_by("name").values_list("name", flat=True)[:1000]),
        older=older,
        first=with_query(request, cursor=None) if request.GET.get("cursor") else None,
    )


def _line(request: HttpRequest, view: SilentView, known: dict[int, str]) -> dict[str, Any]:
    return {
        "view": view,
        "tenant": known.get(view.tenant_id, ""),
        "answer": "" if view.answer is None else pretty(view.answer),
        "buttons": buttons(request, view.id, view.task),
    }


def _minutes(request: HttpRequest) -> int:
    """0: all that are silent. Raises Http404 for what is no number of minutes."""
    text = request.GET.get("minutes", "").strip()
    if not text:
        return int(platform_silence.UNKNOWN_S // 60)
    if not (text.isascii() and text.isdecimal() and len(text) < 6):
        raise Http404
    return int(text)


def _platform_id(name: str) -> int | None:
    """Raises Http404."""
    if not name:
        return None
    found = Platform.objects.filter(name=name).values_list("pk", flat=True).first()
    if found is None:
        raise Http404
    return int(found)
