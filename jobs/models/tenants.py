"""Tenants and their API keys."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _


class Tenant(models.Model):
    """Row 1 is `default`: the tenant without a prefix. `paused_at`: since when its operator holds all its queues."""

    id = models.AutoField(primary_key=True)
    slug = models.TextField(unique=True)
    name = models.TextField()
    max_pending = models.IntegerField(null=True)
    rate_per_s = models.IntegerField(null=True)
    max_active = models.IntegerField(null=True)
    paused_at = models.DateTimeField(null=True)
    paused_by = models.TextField(default="", db_default="")
    paused_reason = models.TextField(default="", db_default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "tenant"
        default_permissions = ("view",)
        verbose_name = _("tenant")
        verbose_name_plural = _("tenants")
        permissions = [("manage_tenant", "Can create and change tenants")]
        indexes = [
            models.Index(
                fields=["id"], condition=models.Q(max_active__isnull=False), name="tenant_limited"
            )
        ]

    def __str__(self) -> str:
        return self.slug


class ApiKey(models.Model):
    """`tc_<env>_<id>_<secret>`: shown once, stored as SHA-256 of the whole (the secret has 256 random bits).

    `created_by`: the person, key or command that made it; empty: not known.
    """

    tenant_id = models.IntegerField(default=1)
    name = models.TextField()
    key_id = models.TextField(unique=True)
    hash = models.BinaryField()
    created_by = models.TextField(default="", db_default="")
    scopes = ArrayField(models.TextField(), default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "api_key"
        default_permissions = ("view",)
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")

    def __str__(self) -> str:
        return f"{self.name} ({self.key_id})"
