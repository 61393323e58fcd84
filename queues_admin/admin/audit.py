"""The audit log, to read: who did what to what, when, why, from where; refused attempts too."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import msgspec
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.translation import gettext as _

from jobs.builtin.reports import safe
from jobs.models import AuditEntry
from jobs.selectors.tenants import slugs
from queues_admin.admin.base import BackOffice, Route, page
from queues_admin.admin.csv_file import Echo
from queues_admin.admin.keys import tenant_ids
from queues_admin.admin.keyset import newest_first, with_query

_FILTERS = ("actor", "action", "target")
_COLUMNS = (
    "id",
    "at",
    "tenant",
    "actor",
    "address",
    "action",
    "target",
    "reason",
    "refused",
    "before",
    "after",
)
_CHUNK = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One field as JSON, before and after; None where nothing was noted. No name: the value as a whole."""

    name: str
    old: str | None
    new: str | None


@admin.register(AuditEntry)
class AuditEntryAdmin(BackOffice):
    def routes(self) -> list[Route]:
        view = "jobs.view_auditentry"
        return [
            Route(path="", view=log, name="changelist", permission=view),
            Route(path="export.csv", view=export, name="export", permission=view),
        ]


def log(request: HttpRequest) -> HttpResponse:
    found = newest_first(request, _rows(request))
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
        tenant=request.GET.get("tenant", "").strip(),
        given={name: request.GET.get(name, "").strip() for name in _FILTERS},
        refused=request.GET.get("refused") == "1",
        export=with_query(request, before=None),
    )


def export(request: HttpRequest) -> HttpResponse:
    """All that the filter finds as CSV, streamed from the newest on."""
    answer = StreamingHttpResponse(_csv(_rows(request)), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = 'attachment; filename="audit.csv"'
    return cast(HttpResponse, answer)


def _rows(request: HttpRequest) -> "QuerySet[AuditEntry]":
    """What the address asks for: the same words find the same entries on the page and in the file."""
    rows = AuditEntry.objects.all()
    for name in _FILTERS:
        if text := request.GET.get(name, "").strip():
            rows = rows.filter(**{name: text.replace("\x00", "")})
    if tenant := request.GET.get("tenant", "").strip():
        rows = rows.filter(tenant_id__in=tenant_ids(tenant))
    return rows.filter(refused=True) if request.GET.get("refused") == "1" else rows


def _csv(rows: "QuerySet[AuditEntry]") -> Iterator[str]:
    """A thousand entries at a time, by falling id; what is written meanwhile is newer and stays out."""
    writer = csv.writer(Echo())
    yield writer.writerow(_COLUMNS)
    last = None
    while part := list(
        (rows if last is None else rows.filter(pk__lt=last)).order_by("-pk")[:_CHUNK]
    ):
        known = slugs(entry.tenant_id for entry in part)
        for entry in part:
            tenant = known.get(entry.tenant_id, "")
            yield writer.writerow([_cell(entry, name, tenant) for name in _COLUMNS])
        last = part[-1].pk


def _cell(entry: AuditEntry, name: str, tenant: str) -> Any:
    if name == "tenant":
        return safe(tenant)
    value = getattr(entry, name)
    if isinstance(value, datetime):
        return value.isoformat()
    if name in ("before", "after"):
        return "" if value is None else safe(_json(value))
    return safe(value)


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
