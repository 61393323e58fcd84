"""Accounts and their append-only ledger."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Account(models.Model):
    """One user's balance in one tenant; always the sum of its entries."""

    tenant_id = models.IntegerField(default=1)
    user_id = models.BigIntegerField()
    balance = models.BigIntegerField(default=0)

    class Meta:
        db_table = "account"
        default_permissions = ("view",)
        verbose_name = _("account")
        verbose_name_plural = _("accounts")
        permissions = [("grant_account", "Can grant and adjust credits")]
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "user_id"], name="account_user"),
            models.CheckConstraint(condition=Q(balance__gte=0), name="account_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id}"


class CreditEntry(models.Model):
    """One line of the ledger. Positive adds to the balance. No foreign key: the account row is hot."""

    GRANT, CHARGE, REFUND, ADJUSTMENT = 1, 2, 3, 4
    KINDS = ((GRANT, "grant"), (CHARGE, "charge"), (REFUND, "refund"), (ADJUSTMENT, "adjustment"))

    account_id = models.BigIntegerField()
    kind = models.SmallIntegerField(choices=KINDS)
    amount = models.BigIntegerField()
    task_id = models.UUIDField(null=True)
    cycle = models.SmallIntegerField(default=0)
    reason = models.TextField(default="")
    actor = models.TextField(default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "credit_entry"
        default_permissions = ("view",)
        verbose_name = _("credit entry")
        verbose_name_plural = _("credit entries")
        indexes = [
            models.Index(fields=["account_id", "-id"], name="entry_account"),
            models.Index(fields=["task_id"], name="entry_task", condition=Q(task_id__isnull=False)),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["task_id", "cycle"], condition=Q(kind=2), name="entry_one_charge"
            ),
            models.UniqueConstraint(
                fields=["task_id", "cycle"], condition=Q(kind=3), name="entry_one_refund"
            ),
            models.CheckConstraint(
                condition=Q(kind=1, amount__gt=0)
                | Q(kind=2, amount__lt=0, task_id__isnull=False)
                | Q(kind=3, amount__gt=0, task_id__isnull=False)
                | (Q(kind=4) & ~Q(amount=0)),
                name="entry_sign",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.amount:+d}"
