"""A task in three tables: Task (narrow, updated often), TaskInfo (insert-once facts), TaskRun (how runs ended)."""

import functools
import operator
from enum import IntFlag

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Abs
from django.db.models.lookups import GreaterThan
from django.utils.translation import gettext_lazy as _

from jobs.domain.states import Lane, State, Status
from jobs.domain.transitions import legal_pairs


class Flag(IntFlag):
    """What a settle must look after besides the row itself."""

    UNIQUE = 1
    PLATFORM = 2
    CALLBACK = 4
    AWAITED = 8
    GROUPED = 16
    COLLECTED = 32
    PARENT = 64
    LIMITED = 128


def _has(flag: Flag) -> Q:
    return Q(GreaterThan(F("flags").bitand(int(flag)), 0))


def _legal() -> Q:
    pairs: dict[int, list[int]] = {}
    for state, status in legal_pairs():
        pairs.setdefault(int(state), []).append(int(status))
    clauses = [Q(state=state, status__in=statuses) for state, statuses in pairs.items()]
    return functools.reduce(operator.or_, clauses)


class Task(models.Model):
    """The hot row: 8-byte columns first. No foreign keys: the engine locks tasks and nothing else."""

    id = models.UUIDField(primary_key=True)
    ord = models.BigIntegerField()
    run_at = models.DateTimeField(null=True)
    deadline = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    worker_id = models.BigIntegerField(null=True)
    account_id = models.BigIntegerField(null=True)
    credits = models.BigIntegerField(default=0)
    parent_id = models.UUIDField(null=True)
    queue_id = models.IntegerField()
    origin_id = models.IntegerField(null=True)
    tenant_id = models.IntegerField()
    token = models.IntegerField(default=0)
    ticket = models.IntegerField(default=0)
    timeout_ms = models.IntegerField(null=True)
    retention_s = models.IntegerField()
    flags = models.IntegerField(default=0)
    runs = models.IntegerField(default=0)
    retried = models.SmallIntegerField(default=0)
    max_retries = models.SmallIntegerField(default=3)
    crashes = models.SmallIntegerField(default=0)
    cycle = models.SmallIntegerField(default=0)
    state = models.SmallIntegerField(choices=[(s.value, s.wire) for s in State])
    status = models.SmallIntegerField(choices=[(s.value, s.wire) for s in Status], default=0)
    lane = models.SmallIntegerField(choices=[(x.value, x.wire) for x in Lane], default=0)
    cancel = models.SmallIntegerField(default=0)
    progress = models.SmallIntegerField(default=0)
    limit_id = models.BigIntegerField(null=True)

    class Meta:
        db_table = "task"
        default_permissions = ("view",)
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        permissions = [
            ("operate_task", "Can run, archive and delete tasks"),
            ("refund_task", "Can cancel tasks and refund credits"),
        ]
        indexes = [
            models.Index(fields=["queue_id", "ord"], name="task_pending", condition=Q(state=1)),
            models.Index(fields=["run_at"], name="task_due", condition=Q(run_at__isnull=False)),
            models.Index(fields=["worker_id"], name="task_active", condition=Q(state=2)),
            models.Index(
                fields=["parent_id", "id"],
                name="task_waiting",
                condition=Q(parent_id__isnull=False),
            ),
            models.Index(
                F("parent_id"),
                Abs("ord"),
                F("id"),
                name="task_grouped",
                condition=Q(state=7) & _has(Flag.GROUPED),
            ),
            models.Index(
                fields=["limit_id", "ord"],
                name="task_in_line",
                condition=Q(state=7) & _has(Flag.LIMITED),
            ),
            models.Index(
                fields=["limit_id"],
                name="task_places",
                condition=Q(limit_id__isnull=False)
                & (Q(state__in=[1, 2]) | (Q(state__in=[3, 4], runs__gt=0) & _has(Flag.PLATFORM))),
            ),
            models.Index(fields=["queue_id", "id"], name="task_archived", condition=Q(state=5)),
            models.Index(
                fields=["deadline"],
                name="task_deadline",
                condition=Q(deadline__isnull=False) & ~Q(state=6) & ~Q(status=5),
            ),
            models.Index(
                fields=["expires_at"], name="task_expiry", condition=Q(expires_at__isnull=False)
            ),
            models.Index(
                fields=["queue_id", "-id"], name="task_held", condition=Q(state__in=[3, 4, 7])
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=_legal(), name="task_state_status"),
            models.CheckConstraint(
                condition=Q(state=2, worker_id__isnull=False)
                | (~Q(state=2) & Q(worker_id__isnull=True)),
                name="task_active_has_worker",
            ),
            models.CheckConstraint(
                condition=Q(state__in=[3, 4], run_at__isnull=False)
                | (~Q(state__in=[3, 4]) & Q(run_at__isnull=True)),
                name="task_waiting_has_time",
            ),
            models.CheckConstraint(
                condition=Q(state=6, finished_at__isnull=False)
                | (~Q(state=6) & Q(finished_at__isnull=True)),
                name="task_end_has_time",
            ),
            models.CheckConstraint(condition=Q(credits__gte=0), name="task_credits_sign"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class TaskInfo(models.Model):
    """What a task was asked to do: written once, searched, never updated (but a waiting task's payload)."""

    id = models.UUIDField(primary_key=True)
    tenant_id = models.IntegerField()
    type = models.TextField()
    queue_id = models.IntegerField()
    user_id = models.BigIntegerField(null=True)
    business_id = models.TextField(null=True)
    trace_id = models.TextField(null=True)
    custom_id = models.TextField(null=True)
    platform = models.TextField(null=True)
    tags = ArrayField(models.TextField(), default=list)
    payload = models.JSONField(default=dict)
    options = models.JSONField(default=dict)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "task_info"
        default_permissions = ()
        indexes = [
            models.Index(fields=["tenant_id", "-id"], name="info_tenant"),
            models.Index(fields=["type", "-id"], name="info_type"),
            models.Index(
                fields=["user_id", "-id"], name="info_user", condition=Q(user_id__isnull=False)
            ),
            models.Index(
                fields=["business_id"], name="info_business", condition=Q(business_id__isnull=False)
            ),
            models.Index(
                fields=["trace_id"], name="info_trace", condition=Q(trace_id__isnull=False)
            ),
            models.Index(
                fields=["platform", "-id"],
                name="info_platform",
                condition=Q(platform__isnull=False),
            ),
            GinIndex(fields=["tags"], name="info_tags", condition=~Q(tags=[])),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class TaskRun(models.Model):
    """One ended run worth keeping: every one that failed, and others when they carry a result."""

    id = models.BigAutoField(primary_key=True)
    task_id = models.UUIDField()
    token = models.IntegerField()
    run = models.IntegerField()
    kind = models.SmallIntegerField()
    worker_id = models.BigIntegerField(null=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField()
    error = models.TextField(null=True)
    result = models.JSONField(null=True)

    class Meta:
        db_table = "task_run"
        default_permissions = ()
        indexes = [
            models.Index(F("task_id"), F("id").desc(), name="run_task"),
            models.Index(fields=["ended_at"], name="run_ended"),
        ]

    def __str__(self) -> str:
        return f"{self.task_id}:{self.run}"
