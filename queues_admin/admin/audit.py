"""The audit log, to read: who did what to what, when, why, from where; refused attempts too."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from jobs.models import AuditEntry
from queues_admin.admin.base import BackOffice, Route, page
from queues_admin.admin.keyset import newest_first

_FILTERS = ("actor", "action", "target")


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
    refused = request.GET.get("refused") == "1"
    if refused:
        rows = rows.filter(refused=True)
    return page(
        request,
        "audit.html",
        title=_("Audit log"),
        page=newest_first(request, rows),
        given=given,
        refused=refused,
    )
