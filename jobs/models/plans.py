"""Bulk actions as rows: a plan, and the frozen set of tasks that it is about."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from jobs.domain.plans import PlanAction, PlanState


class Plan(models.Model):
    """One bulk action. `tasks`, `refund`, `charge` are the preview's; `done` … `refunded` what has happened.

    `next_at` paces by `rate` (tasks a minute); `task_id` is the step's task: any other step stands back.
    `watch_from` and `last_id` bound the tasks whose outcomes are watched; `frozen_*` is where freezing stands.
    """

    tenant_id = models.IntegerField(default=1)
    action = models.TextField(choices=[(a.value, a.value) for a in PlanAction])
    filter = models.JSONField(default=dict)
    reason = models.TextField(default="")
    rate = models.IntegerField(null=True)
    canary = models.IntegerField(null=True)
    stop_percent = models.SmallIntegerField(default=50)
    state = models.TextField(choices=[(s.value, s.value) for s in PlanState])
    state_reason = models.TextField(default="")
    created_by = models.TextField()
    created_at = models.DateTimeField(db_default=Now())
    executed_by = models.TextField(default="")
    starts_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    task_id = models.UUIDField(null=True)

    frozen_state = models.SmallIntegerField(default=0)
    frozen_id = models.UUIDField(null=True)
    tasks = models.IntegerField(default=0)
    users = models.IntegerField(default=0)
    refund = models.BigIntegerField(default=0)
    charge = models.BigIntegerField(default=0)
    summary = models.JSONField(default=dict)

    done = models.IntegerField(default=0)
    skipped = models.IntegerField(default=0)
    failed = models.IntegerField(default=0)
    refunded = models.BigIntegerField(default=0)
    next_at = models.DateTimeField(null=True)
    last_id = models.UUIDField(null=True)
    watch_from = models.UUIDField(null=True)

    class Meta:
        db_table = "plan"
        default_permissions = ("view",)
        verbose_name = _("plan")
        verbose_name_plural = _("plans")

    def __str__(self) -> str:
        return f"plan {self.pk}: {self.action}"


class PlanItem(models.Model):
    """One task of a plan. `credits`: what its preview said comes back (negative: is charged again).

    `reason` is a code, `error` the words; `retried` the task's count when it was changed.
    """

    pk = models.CompositePrimaryKey("plan_id", "task_id")
    plan_id = models.BigIntegerField()
    task_id = models.UUIDField()
    was = models.SmallIntegerField()
    queue_id = models.IntegerField()
    user_id = models.BigIntegerField(null=True)
    credits = models.BigIntegerField(default=0)
    state = models.SmallIntegerField(default=0)
    tries = models.SmallIntegerField(default=0)
    retried = models.SmallIntegerField(default=0)
    reason = models.TextField(default="")
    error = models.TextField(null=True)
    at = models.DateTimeField(null=True)

    class Meta:
        db_table = "plan_item"
        default_permissions = ()
        indexes = [
            models.Index(
                fields=["plan_id", "task_id"], name="plan_item_waiting", condition=Q(state=0)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.plan_id}: {self.task_id}"
