"""Forms that register a platform and change one."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from jobs.contract.reader import contract
from jobs.domain.errors import Forbidden, NotFound, TaskCenterError
from jobs.operations import platforms
from jobs.operations.platforms import PlatformSpec
from jobs.platforms.registry import PROTOCOLS
from jobs.selectors import platforms as reading
from jobs.store import catalog
from queues_admin.admin.base import may
from queues_admin.admin.confirm import Change, Done, OptionalReasonForm, confirm
from queues_admin.admin.json_field import ObjectField, changed
from queues_admin.admin.whose import chosen

OPERATE = "jobs.operate_platform"
PRIVATE = "jobs.manage_tenant"  # admins only, as scope admin in the API
_SECRETS = ("credential", "webhook_secret")
_FIELDS = ("protocol", "base_url", *_SECRETS, "profile", "time_limit", "max_concurrency")
_MORE = ("rate_per_s", "price", "options", "allow_private")
_KEEPS = gettext_lazy("Empty: it stays as it is.")
_UNLIMITED = gettext_lazy("Empty: no limit.")


def _secret(label: Any) -> forms.CharField:
    widget = forms.PasswordInput(attrs={"autocomplete": "off"})
    return forms.CharField(
        label=label, required=False, max_length=4000, strip=True, widget=widget, help_text=_KEEPS
    )


class PlatformForm(OptionalReasonForm):
    """How to talk to it, how often, how much at once."""

    protocol = forms.ChoiceField(
        label=gettext_lazy("Protocol"), choices=[(name, name) for name in sorted(PROTOCOLS)]
    )
    base_url = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=2000,
        widget=forms.TextInput(attrs={"placeholder": "https://api.example.com", "size": 48}),
    )
    credential = _secret(gettext_lazy("Credential"))
    webhook_secret = _secret(gettext_lazy("Webhook secret"))
    profile = forms.ChoiceField(
        label=gettext_lazy("Profile"),
        choices=lambda: [(name, name) for name in sorted(contract().profiles)],
    )
    time_limit = forms.IntegerField(
        label=gettext_lazy("Time limit in seconds"), min_value=1, max_value=30 * 86_400
    )
    max_concurrency = forms.IntegerField(
        label=gettext_lazy("At most at once"),
        min_value=1,
        max_value=1_000_000,
        required=False,
        help_text=_UNLIMITED,
    )
    rate_per_s = forms.FloatField(
        label=gettext_lazy("Requests per second"),
        min_value=0.001,
        max_value=1_000_000,
        required=False,
        help_text=_UNLIMITED,
    )
    price = forms.IntegerField(
        label=gettext_lazy("Price"),
        min_value=0,
        max_value=2**53,
        required=False,
        help_text=gettext_lazy("Empty: callers say what it costs."),
    )
    options = ObjectField(label=gettext_lazy("Options"))
    allow_private = forms.BooleanField(
        label=gettext_lazy("Private addresses are allowed"), required=False
    )
    field_order: tuple[str, ...] = (*_FIELDS, *_MORE, "reason")

    def clean_options(self) -> Any:
        """None while it is as it was shown."""
        given = self.cleaned_data["options"]
        return given if changed(given, self.initial.get("options", {})) else None


class NewPlatformForm(PlatformForm):
    name = forms.RegexField(
        r"^[a-z0-9][a-z0-9_-]{0,62}$(?!\n)",
        label=gettext_lazy("Name"),
        help_text=gettext_lazy("Lower-case letters, digits, `-` and `_`. It cannot be changed."),
        error_messages={
            "invalid": gettext_lazy("Lower-case letters, digits, `-` and `_`; at most 63.")
        },
    )
    field_order = ("name", *PlatformForm.field_order)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.help_text = "" if field.help_text == _KEEPS else field.help_text


def create(request: HttpRequest) -> HttpResponse:
    """Register one, for the tenant in the address."""
    tenant_id = chosen(request)

    def perform(given: dict[str, Any]) -> Done:
        name = catalog.full_name(tenant_id, given["name"])
        spec = _spec(request, name, given)
        if spec.allow_private and not may(request, PRIVATE):
            raise Forbidden("Private addresses of a platform need scope admin", scope="admin")
        platforms.create(spec, tenant_id=tenant_id)
        message = _("The platform %(name)s is registered.") % {"name": name}
        return Done(message=message, after=_noted(spec))

    return confirm(
        request,
        Change(
            action="platform.create",
            target=request.POST.get("name", "")[:63],
            title=_("New platform"),
            button=_("Register platform"),
            effects=[_("Tasks can be submitted to it at once.")],
            permissions=(OPERATE,),
            back=reverse("admin:jobs_platform_changelist"),
            perform=perform,
            form=NewPlatformForm,
            initial={"time_limit": 3600, "profile": "default", "options": {}},
            asks=True,
            inspect=lambda given: _faults(request, _full(tenant_id, given), given),
        ),
    )


def change(request: HttpRequest, name: str) -> HttpResponse:
    try:
        now = reading.get(name, None)
    except NotFound:
        raise Http404 from None
    shown = {field: getattr(now, field) for field in (*_FIELDS, *_MORE) if field not in _SECRETS}

    def perform(given: dict[str, Any]) -> Done:
        spec = _spec(request, name, given)
        platforms.change(spec, may_reach_private=may(request, PRIVATE))
        message = _("The platform %(name)s is changed.") % {"name": name}
        return Done(message=message, after=_noted(spec))

    return confirm(
        request,
        Change(
            action="platform.change",
            target=name,
            title=_("Settings of platform %(name)s") % {"name": name},
            button=_("Change"),
            effects=[
                _(
                    "It holds for the next request. Tasks that run over there are polled by the new settings."
                )
            ],
            permissions=(OPERATE,),
            back=reverse("admin:jobs_platform_change", args=[name]),
            perform=perform,
            form=PlatformForm,
            initial=shown,
            before={key: value for key, value in shown.items() if key != "options"},
            asks=True,
            inspect=lambda given: _faults(request, name, given),
        ),
    )


def _full(tenant_id: int, given: dict[str, Any]) -> str:
    return catalog.full_name(tenant_id, given["name"]) if given.get("name") else ""


def _faults(request: HttpRequest, name: str, given: dict[str, Any]) -> Sequence[TaskCenterError]:
    return platforms.faults(_spec(request, name, given))


def _spec(request: HttpRequest, name: str, given: dict[str, Any]) -> PlatformSpec:
    """What was said; an empty limit is none. Private addresses are for admins to allow."""
    fields = (*_FIELDS, *_MORE)
    said = {field: given[field] for field in fields if given.get(field) not in (None, "")}
    if not may(request, PRIVATE) and not said.get("allow_private"):
        said.pop("allow_private", None)
    lifted = tuple(field for field in platforms.LIMITS if field not in said)
    return PlatformSpec(name=name, **said, lifted=lifted)


def _noted(spec: PlatformSpec) -> dict[str, Any]:
    """For the audit log: without secrets."""
    said = {field: getattr(spec, field) for field in (*_FIELDS, *_MORE)}
    return {
        field: "********" if field in _SECRETS else value
        for field, value in said.items()
        if (value is not None or field in spec.lifted) and field != "options"
    }
