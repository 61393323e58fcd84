"""The admin site of the console: with TASKCENTER_SECOND_FACTOR it opens to none without a code of theirs (S07)."""

from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from django_otp.forms import OTPAuthenticationFormMixin
from django_otp.models import Device
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from jobs.operations import audits

_CODE_CHARS = 32
_DIGITS = 8


class CodeForm(AdminAuthenticationForm, OTPAuthenticationFormMixin):  # type: ignore[misc]
    """Name, password, and a code of any of the person's devices."""

    otp_error_messages = {
        **OTPAuthenticationFormMixin.otp_error_messages,
        "token_required": _("Enter the code that your device shows."),
        "invalid_token": _("This code is wrong or has been used. Wait for the next one."),
        "n_failed_attempts": _(
            "Codes are refused for a while: %(failure_count)d attempts have failed."
        ),
        "verification_not_allowed": _("Codes are refused for the moment."),
        "device_required": _("You have no device for such a code. Ask an administrator for one."),
    }
    otp_token = forms.CharField(
        label=_("Code"),
        required=False,
        max_length=_CODE_CHARS,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean()
        self.clean_otp(self.get_user())
        return cleaned

    def _chosen_device(self, user: User) -> Device | None:
        """By the code's length: a wrong one must count against one device only, or spare codes would be used up."""
        kind = (
            TOTPDevice if len(self.cleaned_data.get("otp_token", "")) <= _DIGITS else StaticDevice
        )
        found: Device | None = kind.objects.select_for_update().filter(user=user).first()
        return found


class Site(AdminSite):
    """Django's admin site, and a second factor where the settings ask for it."""

    @property
    def login_form(self) -> type[AdminAuthenticationForm]:  # type: ignore[override]
        return CodeForm if settings.TASKCENTER["SECOND_FACTOR"] else AdminAuthenticationForm

    @property
    def login_template(self) -> str | None:  # type: ignore[override]
        return "back_office/login.html" if settings.TASKCENTER["SECOND_FACTOR"] else None

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """What every page knows, those of django-rq too: the menu says when the installation is read-only."""
        return {**super().each_context(request), "readonly": bool(settings.ASYNQ_READONLY)}

    def password_change(  # type: ignore[override]  # the form redirects when it is done
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One's own password: audited, and a change like others while the installation is read-only."""
        from queues_admin.admin.base import actor, address, read_only, refuse

        user, action = cast(User, request.user), "user.password"
        target = f"{user} #{user.pk}"
        if request.method == "POST" and read_only():
            refuse(request, action=action, target=target, why="read-only (ASYNQ_READONLY)")
            raise PermissionDenied
        with transaction.atomic():
            answer: HttpResponse = super().password_change(request, extra_context)
            if request.method == "POST" and answer.status_code == 302:
                audits.record(
                    actor=actor(request), address=address(request), action=action, target=target
                )
        return answer

    def has_permission(self, request: HttpRequest) -> bool:
        allowed = super().has_permission(request)
        if allowed and settings.TASKCENTER["SECOND_FACTOR"]:
            return bool(request.user.is_verified())  # type: ignore[union-attr]
        return allowed
