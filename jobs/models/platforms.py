"""External platforms, what we know of a task there, and circuit breakers."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Platform(models.Model):
    """Somebody else's system. Credentials are sealed (Fernet); nothing shows them again."""

    tenant_id = models.IntegerField(default=1)
    name = models.TextField(unique=True)
    protocol = models.TextField()
    base_url = models.TextField()
    credential_sealed = models.TextField(default="", blank=True)
    webhook_secret_sealed = models.TextField(default="", blank=True)
    profile = models.TextField(default="default")
    time_limit_s = models.IntegerField(default=3600)
    allow_private = models.BooleanField(default=False)
    max_concurrency = models.IntegerField(null=True)
    rate_per_s = models.FloatField(null=True)
    price = models.BigIntegerField(null=True)
    options = models.JSONField(default=dict, blank=True)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "platform"
        default_permissions = ("view",)
        verbose_name = _("platform")
        verbose_name_plural = _("platforms")
        permissions = [("operate_platform", "Can create and change platforms and force breakers")]

    def __str__(self) -> str:
        return self.name


class PlatformTask(models.Model):
    """A task's other half: its id and last word over there. `submit_started_at` without `external_id` is ambiguous.

    `silent_since`: since when it has said nothing that we understand (UNKNOWN, no answer, a strange word).
    `poll_at`: when it is asked about without a claim; null: by its next run.
    `ended_at`: our task ended. `cancel_requested_at`: an operator's cancel whose end the platform's word decides.
    """

    task_id = models.UUIDField(primary_key=True)
    platform_id = models.BigIntegerField()
    external_id = models.TextField(null=True)
    raw_status = models.TextField(null=True)
    polls = models.IntegerField(default=0)
    unknowns = models.SmallIntegerField(default=0)
    contact_errors = models.SmallIntegerField(default=0)
    submit_started_at = models.DateTimeField(null=True)
    submitted_at = models.DateTimeField(null=True)
    polled_at = models.DateTimeField(null=True)
    poll_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    cancel_answer = models.TextField(null=True)
    silent_since = models.DateTimeField(null=True)
    urls = models.JSONField(default=dict)
    answer = models.JSONField(null=True)

    class Meta:
        db_table = "platform_task"
        default_permissions = ()
        indexes = [
            models.Index(
                fields=["poll_at"], name="platform_poll", condition=Q(poll_at__isnull=False)
            ),
            models.Index(
                fields=["platform_id", "external_id"],
                name="platform_external",
                condition=Q(external_id__isnull=False),
            ),
            models.Index(
                fields=["platform_id"],
                name="platform_open",
                condition=Q(submit_started_at__isnull=False, ended_at__isnull=True),
            ),
            models.Index(
                fields=["ended_at", "silent_since"],
                name="platform_silent",
                condition=Q(silent_since__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} {self.external_id}"


class Breaker(models.Model):
    """A circuit breaker shared by all workers.

    `name` is `platform:<name>` or `service:<host>`, of a tenant's platform `service:<tenant>@<host>`.

    `forced_at`, `forced_by`, `forced_reason` speak of the last force, and mean nothing once it is over.
    """

    name = models.TextField(primary_key=True)
    state = models.TextField(default="CLOSED")
    failures = models.IntegerField(default=0)
    opened_at = models.DateTimeField(null=True)
    probes = models.IntegerField(default=0)
    successes = models.IntegerField(default=0)
    forced = models.TextField(null=True)
    forced_until = models.DateTimeField(null=True)
    forced_at = models.DateTimeField(null=True)
    forced_by = models.TextField(default="", db_default="")
    forced_reason = models.TextField(default="", db_default="")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "breaker"
        default_permissions = ("view",)
        verbose_name = _("circuit breaker")
        verbose_name_plural = _("circuit breakers")

    def __str__(self) -> str:
        return f"{self.name} {self.state}"


class PlatformGate(models.Model):
    """A platform's request rate: when the next request is due, and up to when times were promised to others."""

    platform_id = models.BigIntegerField(primary_key=True)
    next_at = models.DateTimeField()
    promised_at = models.DateTimeField()

    class Meta:
        db_table = "platform_gate"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.platform_id} {self.next_at}"


class WebhookDelivery(models.Model):
    """A webhook's delivery id (`platform:id`) that was seen; forgotten when its signature is too old anyway."""

    key = models.TextField(primary_key=True)
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "webhook_delivery"
        default_permissions = ()
        indexes = [models.Index(fields=["seen_at"], name="delivery_age")]

    def __str__(self) -> str:
        return self.key
