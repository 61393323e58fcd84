"""The audit log, to read: who did what to what, when, why, from where; refused attempts too."""

from dataclasses import dataclass
from typing import Any

import msgspec
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from jobs.models import AuditEntry
from jobs.selectors.tenants import slugs
from queues_admin.admin.base import BackOffice, Route, page
from queues_admin.admin.keys import tenant_ids
from queues_admin.admin.keyset import newest_first

_FILTERS = ("actor", "action", "target")


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One field as JSON, before and after; None where nothing was noted. No name: the value as a whole."""

    name: str
    old: str | None
    new: str | None


@admin.register(AuditEntry)
class AuditEntryAdmin(BackOffice):
    def routes(self) -> list[Route]:
        return [Route(path="", view=log, name="changelist", permission="jobs.view_auditentry")]


def log(request: HttpRequest) -> HttpResponse:
    rows = AuditEntry.objects.all()
    given = {name: request.GET.get(name, "").strip() for name in _FILTERS}
    for name, text in given.items():
        if text:
            rows = rows.filter(**{name: text.replace("\x00", "")})
    tenant = request.GET.get("tenant", "").strip()
    if tenant:
        rows = rows.filter(tenant_id__in=tenant_ids(tenant))
    refused = request.GET.get("refused") == "1"
    if refused:
        rows = rows.filter(refused=True)
    found = newest_first(request, rows)
    known = slugs(entry.tenant_id for entry in found.items)
    return page(
        request,
        "audit.html",
        title=_("Audit log"),
        page=found,
        lines=[
            (entry, known.get(entry.tenant_id, ""), differences(entry.before, entry.after))
            for entry in found.items
        ],
        tenant=tenant,
        given=given,
        refused=refused,
    )


def differences(before: Any, after: Any) -> list[Difference]:
    """Field by field, those that changed first; a field that only one side noted stands alone."""
    if not isinstance(before, dict | None) or not isinstance(after, dict | None):
        return [Difference(name="", old=_json(before), new=_json(after))]
    old, new = before or {}, after or {}
    found = [
        Difference(
            name=name,
            old=_json(old[name]) if name in old else None,
            new=_json(new[name]) if name in new else None,
        )
        for name in [*old, *(name for name in new if name not in old)]
    ]
    return sorted(found, key=lambda d: d.new is None or d.old == d.new)


def _json(value: Any) -> str:
    """A word without quotes, everything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
