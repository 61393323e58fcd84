"""Small words for templates: a task's address, ages, the menu."""

from datetime import datetime
from typing import Any

from django import template
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from jobs.selectors.overview import Overview, overview
from queues_admin.admin.numbers import control
from queues_admin.admin.task_search import slug
from queues_admin.admin.words import house_reason, word

register = template.Library()
register.filter(word)
register.filter(house_reason)

_UNITS = (
    (gettext_noop("d"), 86_400),
    (gettext_noop("h"), 3_600),
    (gettext_noop("min"), 60),
    (gettext_noop("s"), 1),
)

# The guide's four words first, then ours: (words, address, permission).
_MENU = (
    (gettext_noop("Queues"), "admin:jobs_queue_changelist", "jobs.view_queue"),
    (gettext_noop("Servers"), "admin:jobs_worker_changelist", "jobs.view_worker"),
    (gettext_noop("Schedulers"), "admin:jobs_schedule_changelist", "jobs.view_schedule"),
    (gettext_noop("Redis Info"), "admin:jobs_queue_redis", "jobs.view_queue"),
    (gettext_noop("Tasks"), "admin:jobs_task_changelist", "jobs.view_task"),
    (gettext_noop("Plans"), "admin:jobs_plan_changelist", "jobs.view_plan"),
    (gettext_noop("Platforms"), "admin:jobs_platform_changelist", "jobs.view_platform"),
    (gettext_noop("Accounts"), "admin:jobs_account_changelist", "jobs.view_account"),
    (gettext_noop("Tenants"), "admin:jobs_tenant_changelist", "jobs.view_tenant"),
    (gettext_noop("Audit log"), "admin:jobs_auditentry_changelist", "jobs.view_auditentry"),
    (gettext_noop("API keys"), "admin:jobs_apikey_changelist", "jobs.view_apikey"),
    (gettext_noop("E-mails"), "demo:mails", "jobs.view_task"),
)


@register.simple_tag(takes_context=True)
def menu(context: dict[str, Any]) -> list[dict[str, Any]]:
    """What this person may open; pages that are not installed are left out."""
    request: HttpRequest = context["request"]
    user = getattr(request, "user", AnonymousUser())
    found = []
    for words, name, permission in _MENU:
        if not (user.is_active and user.is_staff and user.has_perm(permission)):
            continue
        try:
            url = reverse(name)
        except NoReverseMatch:
            continue
        here = request.path == url or (request.path.startswith(url) and "redis" not in request.path)
        found.append({"words": _(words), "url": url, "here": here})
    return found


@register.simple_tag(takes_context=True)
def emergency(context: dict[str, Any]) -> Any:
    """The emergency stop's row while it is on, for staff."""
    user = getattr(context["request"], "user", None)
    if user is None or not user.is_staff:
        return None
    row = control()
    return row if row.stopped else None


@register.simple_tag(name="overview")
def overview_() -> Overview:
    """The numbers of the first page."""
    return overview()


@register.filter
def task_slug(task_id: str, tenant_id: int = 1) -> str:
    """A task's id as it stands in addresses: a caller's own name may hold slashes."""
    return slug(task_id, tenant_id)


@register.filter
def ago(moment: datetime | None) -> str:
    """How far a moment is away, in its two largest units; the page shows the exact time beside it."""
    if moment is None:
        return "–"
    seconds = (timezone.now() - moment).total_seconds()
    size = _span(abs(seconds))
    return _("in %(span)s") % {"span": size} if seconds < 0 else _("%(span)s ago") % {"span": size}


@register.filter
def span(seconds: float | None) -> str:
    """A length of time in its two largest units."""
    return "–" if seconds is None else _span(float(seconds))


@register.filter
def clock(moment: datetime) -> str:
    """A moment in its own time zone, not the viewer's."""
    return moment.strftime("%Y-%m-%d %H:%M:%S")


@register.filter
def first_line(text: str | None) -> str:
    """What an error says before its traceback."""
    return text.split("\n", 1)[0] if text else "–"


@register.filter
def dash(value: Any) -> Any:
    """A dash for what isn't there."""
    return "–" if value is None or value == "" else value


def _span(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} {_('s')}"
    parts = []
    left = int(seconds)
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {_(unit)}")
    return " ".join(parts[:2])
