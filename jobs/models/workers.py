"""Workers: one row per start of a worker process, never reused."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class Worker(models.Model):
    """`dead_at` is set once and final; `stats` holds what the process says of itself."""

    name = models.TextField()
    started_at = models.DateTimeField()
    beat_at = models.DateTimeField()
    dead_at = models.DateTimeField(null=True)
    command = models.TextField(default="")
    stats = models.JSONField(default=dict)

    class Meta:
        db_table = "worker"
        default_permissions = ("view",)
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        permissions = [("operate_worker", "Can quiet and stop workers")]
        indexes = [
            models.Index(fields=["id"], name="worker_living", condition=Q(dead_at__isnull=True)),
            models.Index(
                fields=["dead_at"], name="worker_dead", condition=Q(dead_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return self.name
