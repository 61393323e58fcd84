"""Copies of other databases' tables, and how far each copy has come."""

from django.db import models
from django.db.models.functions import Now


class SyncPosition(models.Model):
    """A named source's place: `position` is the [watermark, key] of the last row copied, null before the first.

    `version` grows with every piece: who read an older one writes nothing. `caught_up`: the last piece was the end.
    """

    name = models.TextField(primary_key=True)
    position = models.JSONField(null=True)
    version = models.BigIntegerField(default=0)
    rows = models.BigIntegerField(default=0)
    caught_up = models.BooleanField(default=False)
    moved_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "sync_position"
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class SyncedRow(models.Model):
    """One row of a source as it was last seen: its columns as a JSON object."""

    source = models.TextField()
    key = models.TextField()
    watermark = models.TextField()
    data = models.JSONField()
    synced_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "synced_row"
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["source", "key"], name="synced_once")]

    def __str__(self) -> str:
        return f"{self.source} {self.key}"
