"""API keys: made here, shown once, revoked here."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from jobs.domain.errors import NotFound
from jobs.models import ApiKey, Tenant
from jobs.operations import keys, tenants
from jobs.selectors.tenants import slugs
from jobs.store import catalog
from queues_admin.admin.base import BackOffice, Route, actor, page
from queues_admin.admin.confirm import Change, Done, OptionalReasonForm, ReasonForm, confirm
from queues_admin.admin.keyset import newest_first
from queues_admin.permissions import MANAGE_KEYS


class NewKeyForm(OptionalReasonForm):
    """What the key may do and how long."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=100)
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("Scopes"),
        choices=[(scope, scope) for scope in keys.SCOPES],
        widget=forms.CheckboxSelectMultiple,
    )
    expires_at = forms.DateTimeField(
        label=gettext_lazy("Expires at (UTC, optional)"),
        required=False,
        widget=forms.DateTimeInput(attrs={"placeholder": "2030-01-31 12:00"}),
    )
    tenant = forms.CharField(
        label=gettext_lazy("Tenant (empty: the default one)"), max_length=31, required=False
    )
    field_order = ("name", "tenant", "scopes", "expires_at", "reason")

    def clean_tenant(self) -> int:
        """The tenant's id."""
        slug: str = self.cleaned_data["tenant"]
        if not slug:
            return catalog.DEFAULT_TENANT
        try:
            return tenants.id_of(slug)
        except NotFound:
            raise forms.ValidationError(_("There is no such tenant")) from None

    def clean_expires_at(self) -> Any:
        value = self.cleaned_data["expires_at"]
        if value is not None and value <= timezone.now():
            raise forms.ValidationError(_("This time has passed."))
        return value


@admin.register(ApiKey)
class ApiKeyAdmin(BackOffice):
    def routes(self) -> list[Route]:
        view = "jobs.view_apikey"
        return [
            Route(path="", view=overview, name="changelist", permission=view),
            Route(path="new/", view=create, name="add", permission=view),
            Route(path="<str:key_id>/revoke/", view=revoke, name="revoke", permission=view),
        ]


def overview(request: HttpRequest) -> HttpResponse:
    rows = ApiKey.objects.all()
    wanted = request.GET.get("tenant", "").strip()
    if wanted:
        rows = rows.filter(tenant_id__in=tenant_ids(wanted))
    found = newest_first(request, rows)
    known = slugs(key.tenant_id for key in found.items)
    lines = [(key, known.get(key.tenant_id, "")) for key in found.items]
    return page(request, "keys.html", title=_("API keys"), page=found, lines=lines, wanted=wanted)


def create(request: HttpRequest) -> HttpResponse:
    def perform(given: dict[str, Any]) -> Done:
        made = keys.create(
            name=given["name"],
            scopes=given["scopes"],
            expires_at=given["expires_at"],
            tenant_id=given["tenant"],
            created_by=actor(request),
        )
        facts = {"key_id": made.key_id, "name": given["name"], "scopes": given["scopes"]}
        if given["tenant"] != catalog.DEFAULT_TENANT:
            facts["tenant"] = catalog.tenant(given["tenant"]).slug
        return Done(message="", after=facts, show=lambda: _shown_once(request, made))

    return confirm(
        request,
        Change(
            action="key.create",
            target=request.POST.get("name", "")[:100],
            title=_("New API key"),
            button=_("Create key"),
            effects=[_("The key is shown once, on the next page. Only its hash is stored.")],
            permissions=(MANAGE_KEYS,),
            back=reverse("admin:jobs_apikey_changelist"),
            perform=perform,
            form=NewKeyForm,
            initial={"tenant": request.GET.get("tenant", "")[:31]},
        ),
    )


def revoke(request: HttpRequest, key_id: str) -> HttpResponse:
    key = ApiKey.objects.filter(key_id=key_id, revoked_at=None).first()
    if key is None:
        raise Http404

    def perform(_given: dict[str, Any]) -> Done:
        keys.revoke(key_id)
        return Done(
            message=_("The key %(name)s is revoked.") % {"name": key.name}, after={"revoked": True}
        )

    return confirm(
        request,
        Change(
            action="key.revoke",
            target=f"{key.name} ({key_id})",
            title=_("Revoke API key %(name)s") % {"name": key.name},
            button=_("Revoke"),
            effects=[
                _("Every request with this key is refused within 5 seconds. This cannot be undone.")
            ],
            permissions=(MANAGE_KEYS,),
            back=reverse("admin:jobs_apikey_changelist"),
            perform=perform,
            form=ReasonForm,
            before={"scopes": key.scopes},
            danger=True,
        ),
    )


def tenant_ids(slug: str) -> list[int]:
    """For filters: the id of the tenant called so, if there is one."""
    found = Tenant.objects.filter(slug=slug.replace("\x00", "")).values_list("pk", flat=True)
    return list(found)


def _shown_once(request: HttpRequest, made: keys.NewKey) -> HttpResponse:
    return page(request, "key_created.html", title=_("The new API key"), made=made)
