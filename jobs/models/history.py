"""What the last hour and each day brought, kept longer than the tasks themselves."""

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


class RateReading(models.Model):
    """The counters over all queues at one moment of the last hour; at most one for each `slot` of five seconds."""

    slot = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()
    processed = models.BigIntegerField()
    failed = models.BigIntegerField()
    submitted = models.BigIntegerField()

    class Meta:
        db_table = "rate_reading"
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.at)
