"""Queues: the six of the contract, and each tenant's own under its prefix."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Queue(models.Model):
    """`base_id` is null for the contract's queues; a tenant's queue points at the one it shares weight with.

    `removed`: deleted by an operator; the row stays for the tasks that name it, and comes back with the next submit,
    paused if it was. `deleting_at`: since when it is paused for its deletion alone.
    `tenant_paused`: held with all queues of its tenant, beside its own pause.
    """

    id = models.AutoField(primary_key=True)
    name = models.TextField(unique=True)
    tenant_id = models.IntegerField(default=1)
    base_id = models.IntegerField(null=True)
    weight = models.SmallIntegerField()
    capacity = models.IntegerField(null=True)
    concurrency = models.IntegerField(null=True)
    level = models.SmallIntegerField(default=0)
    paused = models.BooleanField(default=False)
    paused_reason = models.TextField(default="")
    tenant_paused = models.BooleanField(default=False, db_default=False)
    paused_until = models.DateTimeField(null=True)
    removed = models.BooleanField(default=False, db_default=False)
    deleting_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "queue"
        default_permissions = ("view",)
        verbose_name = _("queue")
        verbose_name_plural = _("queues")
        permissions = [("operate_queue", "Can pause, resume and empty queues")]
        ordering = ("id",)
        indexes = [
            models.Index(fields=["id"], condition=models.Q(level__gt=0), name="queue_pressed"),
            models.Index(fields=["tenant_id"], name="queue_tenant"),
        ]

    def __str__(self) -> str:
        return self.name
