"""What each day brought, kept longer than the tasks themselves."""

from django.db import models


class QueueDay(models.Model):
    """Runs that ended on a UTC day in a queue; written by the fold of the counters."""

    queue_id = models.IntegerField()
    day = models.DateField()
    processed = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)

    class Meta:
        db_table = "queue_day"
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["day", "queue_id"], name="day_once")]

    def __str__(self) -> str:
        return f"{self.queue_id} {self.day}"
