"""Small tables that the engine keeps for itself."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class UniqueLock(models.Model):
    """A unique task's claim on its key (`tenant:sha256`); free when `until` has passed."""

    key = models.TextField(primary_key=True)
    task_id = models.UUIDField()
    until = models.DateTimeField()

    class Meta:
        db_table = "unique_lock"
        default_permissions = ()
        indexes = [
            models.Index(fields=["task_id"], name="lock_task"),
            models.Index(fields=["until"], name="lock_until"),
        ]

    def __str__(self) -> str:
        return self.key


class DigestKey(models.Model):
    """The one key of body digests while payloads are encrypted, sealed like a credential."""

    id = models.SmallIntegerField(primary_key=True)
    sealed = models.TextField()

    class Meta:
        db_table = "digest_key"
        default_permissions = ()

    def __str__(self) -> str:
        return "digest key"


class Idempotency(models.Model):
    """The first answer to an idempotency key (`tenant:key`), kept as long as its task and at least 72 h."""

    key = models.TextField(primary_key=True)
    body_hash = models.TextField()
    task_id = models.UUIDField(null=True)
    answer = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "idempotency"
        default_permissions = ()
        indexes = [models.Index(fields=["created_at", "key"], name="idempotency_age")]

    def __str__(self) -> str:
        return self.key


class ShardCount(models.Model):
    """A parent's children: how many there are, how many ended well and badly."""

    task_id = models.UUIDField(primary_key=True)
    total = models.IntegerField()
    done = models.IntegerField(default=0)
    failed = models.IntegerField(default=0)

    class Meta:
        db_table = "shard_count"
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=Q(done__gte=0, failed__gte=0), name="shard_counts")
        ]

    def __str__(self) -> str:
        return f"{self.done}+{self.failed}/{self.total}"


class TaskWait(models.Model):
    """A task that starts after others: how many of them have not succeeded yet."""

    task_id = models.UUIDField(primary_key=True)
    remaining = models.IntegerField()

    class Meta:
        db_table = "task_wait"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.task_id} waits for {self.remaining}"


class TaskAfter(models.Model):
    """One task that another waits for; removed when it succeeds."""

    task_id = models.UUIDField()
    predecessor_id = models.UUIDField()

    class Meta:
        db_table = "task_after"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["predecessor_id", "task_id"], name="after_once")
        ]
        indexes = [models.Index(fields=["task_id"], name="after_task")]

    def __str__(self) -> str:
        return f"{self.task_id} after {self.predecessor_id}"


class Aftermath(models.Model):
    """An ended task that others wait for (successors, members of its group, shards): worked off in steps."""

    task_id = models.UUIDField()
    status = models.SmallIntegerField()
    flags = models.IntegerField()

    class Meta:
        db_table = "task_aftermath"
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.task_id)


class Duty(models.Model):
    """A leased job of the house (dispatch, rescue, fold …): limits load only, correctness stays with guards."""

    name = models.TextField(primary_key=True)
    holder = models.TextField(default="")
    until = models.DateTimeField()

    class Meta:
        db_table = "duty"
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class RedisShard(models.Model):
    """The epoch under which tickets in this Redis are valid."""

    name = models.TextField(primary_key=True)
    epoch = models.IntegerField(default=1)
    run_id = models.TextField(default="")

    class Meta:
        db_table = "redis_shard"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.name}@{self.epoch}"


class Control(models.Model):
    """One row: `version` grows with every change that running workers must see; `stopped` is the emergency stop.

    `queues` is another number after every change of a queue's settings, by trigger: who caches queues compares it.
    """

    version = models.IntegerField(default=1)
    queues = models.BigIntegerField(default=0, db_default=0)
    stopped = models.BooleanField(default=False)
    stopped_reason = models.TextField(default="")

    class Meta:
        db_table = "control"
        default_permissions = ()
        constraints = [models.CheckConstraint(condition=Q(id=1), name="control_single")]

    def __str__(self) -> str:
        return f"v{self.version}"
