"""Tenants: what each has waiting, its quotas, queues and keys; create, change, pause."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from jobs.models import ApiKey, Tenant
from jobs.operations import tenants
from jobs.selectors import queues
from jobs.selectors import tenants as reading
from jobs.store import catalog
from queues_admin.admin.base import BackOffice, Route, actor, page
from queues_admin.admin.confirm import Change, Done, OptionalReasonForm, ReasonForm, confirm
from queues_admin.admin.keyset import newest_first

MANAGE = "jobs.manage_tenant"
OPERATE = "jobs.operate_queue"
_KEYS_SHOWN = 20

_LABELS = {
    "max_pending": gettext_lazy("Most tasks that may wait"),
    "max_active": gettext_lazy("Most tasks that may run at once"),
    "rate_per_s": gettext_lazy("Requests a second"),
}


def _quota_fields() -> dict[str, forms.Field]:
    """One field for each quota that tenants have; empty takes it away."""
    return {
        name: forms.IntegerField(
            label=_LABELS.get(name, name), min_value=low, max_value=high, required=False
        )
        for name, (low, high) in tenants.QUOTAS.items()
    }


class TenantForm(OptionalReasonForm):
    """Its name and quotas."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=200, required=False)
    field_order: tuple[str, ...] = ("name", *tenants.QUOTAS, "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields.update(_quota_fields())
        self.order_fields(self.field_order)


class NewTenantForm(TenantForm):
    slug = forms.CharField(
        label=gettext_lazy("Slug"),
        max_length=31,
        help_text=gettext_lazy("The prefix of its queues: acme:default. It cannot be changed."),
    )
    field_order = ("slug", *TenantForm.field_order)

    def clean_slug(self) -> str:
        slug: str = self.cleaned_data["slug"]
        refusal = tenants.slug_refusal(slug)
        if refusal:
            raise forms.ValidationError(_(refusal))
        if Tenant.objects.filter(slug=slug).exists():
            raise forms.ValidationError(_("There is such a tenant already."))
        return slug


@admin.register(Tenant)
class TenantAdmin(BackOffice):
    def routes(self) -> list[Route]:
        view = "jobs.view_tenant"
        return [
            Route(path="", view=overview, name="changelist", permission=view),
            Route(path="+new/", view=create, name="add", permission=view),
            Route(path="<slug:slug>/", view=detail, name="change", permission=view),
            Route(path="<slug:slug>/settings/", view=change, name="settings", permission=view),
            Route(path="<slug:slug>/pause/", view=pause, name="pause", permission=view),
            Route(path="<slug:slug>/resume/", view=resume, name="resume", permission=view),
        ]


def overview(request: HttpRequest) -> HttpResponse:
    wanted = request.GET.get("q", "").strip()
    rows = Tenant.objects.all()
    if wanted:
        rows = rows.filter(slug__startswith=wanted.replace("\x00", ""))
    found = newest_first(request, rows)
    loads = reading.loads(tenant.pk for tenant in found.items)
    lines = [(tenant, loads.get(tenant.pk, reading.Load())) for tenant in found.items]
    return page(request, "tenants.html", title=_("Tenants"), page=found, lines=lines, wanted=wanted)


def detail(request: HttpRequest, slug: str) -> HttpResponse:
    tenant = _get(slug)
    quotas = [(_LABELS.get(name, name), getattr(tenant, name, None)) for name in tenants.QUOTAS]
    load = reading.loads([tenant.pk]).get(tenant.pk, reading.Load())
    return page(
        request,
        "tenant.html",
        load=load,
        waiting=load.pending + load.waiting,
        title=_("Tenant %(name)s") % {"name": slug},
        tenant=tenant,
        quotas=quotas,
        has_quotas=tenant.pk != catalog.DEFAULT_TENANT,
        queues=queues.listing(tenant.pk),
        keys=ApiKey.objects.filter(tenant_id=tenant.pk, revoked_at=None).order_by("-pk")[
            :_KEYS_SHOWN
        ],
    )


def create(request: HttpRequest) -> HttpResponse:
    def perform(given: dict[str, Any]) -> Done:
        quotas = _quotas(given)
        tenants.create(given["slug"], given["name"], **quotas)
        return Done(
            message=_("The tenant %(name)s has queues now; give it a key.")
            % {"name": given["slug"]},
            after={"name": given["name"], **quotas},
        )

    return confirm(
        request,
        Change(
            action="tenant.create",
            target=f"tenant:{request.POST.get('slug', '')[:31]}",
            title=_("New tenant"),
            button=_("Create tenant"),
            effects=[
                _("It gets queues, accounts and keys of its own. A quota left empty is none."),
                _(
                    "Each of its queues begins with the weight and capacity that the base queue has now, and runs, even"
                    " while that one is paused. Later changes of the base queue's capacity or pause are not its own."
                ),
            ],
            permissions=(MANAGE,),
            back=reverse("admin:jobs_tenant_changelist"),
            perform=perform,
            form=NewTenantForm,
            asks=True,
        ),
    )


def change(request: HttpRequest, slug: str) -> HttpResponse:
    tenant = _get(slug)
    if tenant.pk == catalog.DEFAULT_TENANT:
        raise Http404  # it has neither quotas nor another name
    now = {name: getattr(tenant, name) for name in ("name", *tenants.QUOTAS)}

    def perform(given: dict[str, Any]) -> Done:
        wanted = {"name": given["name"], **_quotas(given)}
        tenants.change(slug, wanted)
        return Done(
            message=_("The settings of tenant %(name)s were changed.") % {"name": slug},
            after=wanted,
        )

    return confirm(
        request,
        _change(
            slug,
            "change",
            title=_("Settings of tenant %(name)s") % {"name": slug},
            button=_("Change"),
            effects=[
                _("It holds within a second, in every process."),
                _("A quota left empty is taken away."),
            ],
            permissions=(MANAGE,),
            form=TenantForm,
            initial=now,
            before=now,
            perform=perform,
        ),
    )


def pause(request: HttpRequest, slug: str) -> HttpResponse:
    def perform(given: dict[str, Any]) -> Done:
        tenants.pause(slug, actor=actor(request), reason=given["reason"])
        return Done(message=_("Tenant %(name)s is paused.") % {"name": slug})

    effects = [
        _("No task of its queues starts any more; running ones finish."),
        _("Its own keys cannot lift it; queues that are paused themselves stay so afterwards."),
        _(
            "New tasks are still accepted and wait. To refuse them, set the most that may wait to 0."
        ),
    ]
    return confirm(
        request,
        _change(
            slug,
            "pause",
            title=_("Pause tenant %(name)s") % {"name": slug},
            button=_("Pause"),
            effects=effects,
            permissions=(OPERATE,),
            form=ReasonForm,
            perform=perform,
            danger=True,
        ),
    )


def resume(request: HttpRequest, slug: str) -> HttpResponse:
    def perform(_given: dict[str, Any]) -> Done:
        tenants.resume(slug)
        return Done(message=_("Tenant %(name)s is running again.") % {"name": slug})

    return confirm(
        request,
        _change(
            slug,
            "resume",
            title=_("Resume tenant %(name)s") % {"name": slug},
            button=_("Resume"),
            effects=[
                _(
                    "Workers take tasks of its queues again, within a second, but for those paused themselves."
                )
            ],
            permissions=(OPERATE,),
            form=OptionalReasonForm,
            perform=perform,
        ),
    )


def _change(slug: str, verb: str, **parts: Any) -> Change:
    if _get(slug).pk == catalog.DEFAULT_TENANT:
        raise Http404
    back = reverse("admin:jobs_tenant_change", args=[slug])
    return Change(action=f"tenant.{verb}", target=f"tenant:{slug}", back=back, **parts)


def _quotas(given: dict[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name in tenants.QUOTAS}


def _get(slug: str) -> Tenant:
    found = Tenant.objects.filter(slug=slug).first()
    if found is None:
        raise Http404
    return found
