"""Who may do what: the roles as groups, and the permission behind each operator's action."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.utils.translation import gettext_noop

from jobs.domain.transitions import Event
from jobs.models import ApiKey

MANAGE_KEYS = "jobs.manage_apikey"

_VIEWS = ("task", "queue", "worker", "schedule", "platform", "breaker", "plan")
_VIEWER = tuple(f"jobs.view_{name}" for name in _VIEWS)
_MONEY_VIEWS = ("jobs.view_account", "jobs.view_creditentry")
_OPERATES = tuple(
    f"jobs.operate_{name}" for name in ("task", "queue", "worker", "schedule", "platform")
)
_MONEY = ("jobs.refund_task", "jobs.grant_account")
_HOUSE = (
    "jobs.view_auditentry",
    "jobs.view_apikey",
    "jobs.view_tenant",
    "jobs.manage_tenant",
    MANAGE_KEYS,
)
_PEOPLE = ("auth.view_user", "auth.add_user", "auth.change_user", "auth.view_group")

ROLES: dict[str, tuple[str, ...]] = {
    "viewer": _VIEWER,
    "operator": (*_VIEWER, *_OPERATES),
    "finance": (*_VIEWER, *_MONEY_VIEWS, *_MONEY),
    "admin": (*_VIEWER, *_MONEY_VIEWS, *_OPERATES, *_MONEY, *_HOUSE, *_PEOPLE),
}


def for_task(event: Event, *, refunds: int) -> tuple[str, ...]:
    """Every permission that an action on a task needs; `refunds`: credits it would give back."""
    if event is Event.CANCEL:
        return ("jobs.refund_task",) if refunds else ("jobs.operate_task",)
    if event is Event.DELETE and refunds:
        return ("jobs.operate_task", "jobs.refund_task")
    return ("jobs.operate_task",)


def roles_with(*permissions: str) -> list[str]:
    """The roles that have all of these, from the least on."""
    return [role for role, held in ROLES.items() if {*permissions} <= {*held}]


def sync_roles(**_signal: Any) -> None:
    """Create the groups and give them what ROLES says, after every migrate (permissions exist only then).

    Permissions that somebody added to a group by hand are left to it.
    """
    if Group._meta.db_table not in connection.introspection.table_names():
        return  # a migrate of single apps
    _own_permission()
    for role, names in ROLES.items():
        group, _ = Group.objects.get_or_create(name=role)
        group.permissions.add(*_permissions(names))


def _own_permission() -> None:
    Permission.objects.get_or_create(
        codename=MANAGE_KEYS.partition(".")[2],
        content_type=ContentType.objects.get_for_model(ApiKey),
        defaults={"name": gettext_noop("Can create and revoke API keys")},
    )


def _permissions(names: Iterable[str]) -> list[Permission]:
    """The rows of those that exist by now: django.contrib.auth makes them app by app."""
    found: list[Permission] = []
    for name in names:
        app, _, codename = name.partition(".")
        found.extend(Permission.objects.filter(content_type__app_label=app, codename=codename))
    return found
