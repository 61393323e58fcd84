"""People with roles, and what their browsers do."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from jobs.models import AuditEntry
from queues_admin.permissions import sync_roles


def client_of(role: str | None) -> Client:
    """A logged-in staff browser; None: staff without any permission, `root`: the superuser."""
    users: Any = get_user_model().objects
    name = role or "nobody"
    user = users.create_user(name, is_staff=True, is_superuser=role == "root")
    if role not in (None, "root"):
        sync_roles()
        user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def act_url(task_id: str, verb: str) -> str:
    return reverse("admin:jobs_task_act", args=[task_id, verb])


def confirm_post(client: Client, url: str, **data: Any) -> Any:
    """Open the confirmation, then send its form with the hidden fields that it had."""
    shown = client.get(url)
    assert shown.status_code == 200, shown.content.decode()[:2000]
    hidden = {field.name: field.value() for field in shown.context["form"].hidden_fields()}
    return client.post(url, {**hidden, **data})


def audits(action: str, *, refused: bool = False) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action=action, refused=refused).order_by("pk"))


def text(response: Any) -> str:
    return str(response.content.decode())
