"""What a migration of an older system's tasks has done, so that nothing is ever done twice."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class MigratedRow(models.Model):
    """A source row that became a task; outlives the task. `key` is `mapping:table:id`, `alias` the old task id."""

    key = models.TextField(primary_key=True)
    task_id = models.UUIDField()
    action = models.TextField()
    reason = models.TextField(default="")
    refund = models.BigIntegerField(default=0)
    alias = models.TextField(null=True)
    migrated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "migrated_row"
        default_permissions = ()
        indexes = [
            models.Index(fields=["alias"], name="migrated_alias", condition=Q(alias__isnull=False))
        ]

    def __str__(self) -> str:
        return f"{self.key} {self.action}"


class MigrationRun(models.Model):
    """One source's migration; `finished_at` is set by an applied run that reached the end."""

    name = models.TextField(primary_key=True)
    source = models.TextField()
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    rows = models.BigIntegerField(default=0)
    counts = models.JSONField(default=dict)

    class Meta:
        db_table = "migration_run"
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
