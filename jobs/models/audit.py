"""What happened: to a task (Event) and by whose hand (AuditEntry). Both are append-only in the database."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Event(models.Model):
    """A line of a task's timeline; outlives the task as its tombstone."""

    task_id = models.UUIDField()
    at = models.DateTimeField(db_default=Now())
    kind = models.TextField()
    actor = models.TextField(default="system")
    detail = models.JSONField(default=dict)

    class Meta:
        db_table = "event"
        default_permissions = ()
        indexes = [models.Index(fields=["task_id", "id"], name="event_task")]

    def __str__(self) -> str:
        return f"{self.kind} {self.task_id}"


class AuditEntry(models.Model):
    """A change, or a refused attempt at one, by a person or a key.

    `tenant_id`: whose key it was; people and commands are the default tenant's.
    """

    tenant_id = models.IntegerField(default=1, db_default=1)
    at = models.DateTimeField(db_default=Now())
    actor = models.TextField()
    address = models.TextField(default="")
    action = models.TextField()
    target = models.TextField(default="")
    reason = models.TextField(default="")
    refused = models.BooleanField(default=False)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)

    class Meta:
        db_table = "audit_entry"
        default_permissions = ("view",)
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit log")
        indexes = [
            models.Index(fields=["-at"], name="audit_at"),
            models.Index(fields=["tenant_id", "-id"], name="audit_tenant"),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.target}"


class AuditLink(models.Model):
    """An entry's place in the chain: its hash covers the entry and the hash before it (hex SHA-256)."""

    seq = models.BigIntegerField(primary_key=True)
    entry_id = models.BigIntegerField(unique=True)
    hash = models.TextField()

    class Meta:
        db_table = "audit_link"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


class AuditUnlinked(models.Model):
    """Entries that are not in the chain yet; a trigger writes them down."""

    entry_id = models.BigIntegerField(primary_key=True)

    class Meta:
        db_table = "audit_unlinked"
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.entry_id)
