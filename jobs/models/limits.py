"""Limits per key: how many tasks run at once, and how many start in a time."""

from django.db import models
from django.db.models import Q


class TaskLimit(models.Model):
    """The limit last given for a tenant's key. `starts` in `per_s` seconds is its rate; `next_at`: its next start.

    Whoever lets tasks of the key go holds this row's lock; how many run is counted in `task`.
    """

    tenant_id = models.IntegerField()
    key = models.TextField()
    concurrency = models.IntegerField(null=True)
    starts = models.IntegerField(null=True)
    per_s = models.IntegerField(null=True)
    next_at = models.DateTimeField()
    used_at = models.DateTimeField()

    class Meta:
        db_table = "task_limit"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "key"], name="limit_key"),
            models.CheckConstraint(
                condition=Q(concurrency__isnull=True) | Q(concurrency__gte=1),
                name="limit_concurrency",
            ),
            models.CheckConstraint(
                condition=Q(starts__isnull=True, per_s__isnull=True)
                | Q(starts__gte=1, per_s__gte=1),
                name="limit_rate",
            ),
        ]
        indexes = [models.Index(fields=["used_at"], name="limit_used")]

    def __str__(self) -> str:
        return self.key
