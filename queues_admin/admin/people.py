"""Users and groups: Django's own forms, audited, and without a way up to superuser for others."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from jobs.operations import audits
from queues_admin.admin.base import actor, address, read_only

if TYPE_CHECKING:
    _UserAdmin = UserAdmin[User]
else:
    _UserAdmin = UserAdmin

_ONLY_SUPERUSERS = ("is_superuser", "user_permissions")


def _record(request: HttpRequest, verb: str, changed: Any, message: Any = None) -> None:
    noun = changed._meta.model_name
    audits.record(
        actor=actor(request),
        address=address(request),
        action=f"{noun}.{verb}",
        target=f"{changed} #{changed.pk}",
        after=message or None,
    )


class _Audited:
    """Writes what Django logs of a change into the audit log too."""

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        _record(request, "create", obj, message)
        return super().log_addition(request, obj, message)  # type: ignore[misc]

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        _record(request, "change", obj, message)
        return super().log_change(request, obj, message)  # type: ignore[misc]

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for obj in queryset:
            _record(request, "delete", obj)
        return super().log_deletions(request, queryset)  # type: ignore[misc]


class PeopleAdmin(_Audited, _UserAdmin):
    """Superusers are changed by superusers alone; so are the fields that would make one."""

    actions = None

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        fields = tuple(super().get_readonly_fields(request, obj))
        return fields if request.user.is_superuser else (*fields, *_ONLY_SUPERUSERS)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return not read_only() and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        above = obj is not None and obj.is_superuser and not request.user.is_superuser
        return not above and not read_only() and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        above = obj is not None and obj.is_superuser and not request.user.is_superuser
        return not above and not read_only() and super().has_delete_permission(request, obj)


class RolesAdmin(_Audited, GroupAdmin):
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return not read_only() and super().has_add_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return not read_only() and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        return not read_only() and super().has_delete_permission(request, obj)


for model in (User, Group, TOTPDevice, StaticDevice):  # devices are given out by `second_factor`
    admin.site.unregister(model)
admin.site.register(User, PeopleAdmin)
admin.site.register(Group, RolesAdmin)
