"""Periodic tasks: the rows are the truth, rq-scheduler is only the clock."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Schedule(models.Model):
    """A cron entry. `options` are those of a submit; `missed` says what happens to ticks nobody made."""

    tenant_id = models.IntegerField(default=1)
    name = models.TextField()
    cron = models.TextField()
    timezone = models.TextField(default="UTC")
    type = models.TextField()
    payload = models.JSONField(default=dict, blank=True)
    options = models.JSONField(default=dict, blank=True)
    missed = models.TextField(
        choices=[("skip", _("skip")), ("once", _("run once"))], default="skip"
    )
    enabled = models.BooleanField(default=True)
    next_at = models.DateTimeField(null=True)
    last_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "schedule"
        default_permissions = ("view",)
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        permissions = [("operate_schedule", "Can create, change, pause and run schedules")]
        constraints = [models.UniqueConstraint(fields=["tenant_id", "name"], name="schedule_name")]
        indexes = [models.Index(fields=["next_at"], name="schedule_due", condition=Q(enabled=True))]

    def __str__(self) -> str:
        return self.name


class ScheduleTick(models.Model):
    """One moment of one schedule; unique, so that two schedulers make one task."""

    schedule_id = models.BigIntegerField()
    tick_at = models.DateTimeField()
    made_at = models.DateTimeField(db_default=Now())
    task_id = models.UUIDField(null=True)
    outcome = models.TextField(default="submitted")

    class Meta:
        db_table = "schedule_tick"
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["schedule_id", "tick_at"], name="tick_once")]

    def __str__(self) -> str:
        return f"{self.schedule_id} {self.tick_at}"
