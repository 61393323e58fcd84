"""What a page does not offer to this person, and which roles it would be offered to."""

from collections.abc import Iterable

from django.http import HttpRequest
from django.utils.translation import gettext as _

from queues_admin.admin.base import may, read_only
from queues_admin.permissions import roles_with


def sentences(request: HttpRequest, offers: Iterable[tuple[str, tuple[str, ...]]]) -> list[str]:
    """`offers`: a button's words and the permissions that it needs; those with the same roles share a sentence."""
    if read_only():
        return []
    missing: dict[str, list[str]] = {}
    for label, permissions in offers:
        if not may(request, *permissions):
            roles = _(" or ").join(roles_with(*permissions))
            missing.setdefault(roles, []).append(label)
    return [
        _("%(actions)s: this needs the role %(roles)s.")
        % {"actions": ", ".join(labels), "roles": roles}
        for roles, labels in missing.items()
    ]
