"""What the ledger's own work remembers: entries to deliver elsewhere, sums verified, mismatches found."""

from django.db import models
from django.db.models.functions import Now


class BillingOutbox(models.Model):
    """A credit entry that another service is still to be told; written by a trigger with the entry itself."""

    entry_id = models.BigIntegerField(primary_key=True)

    class Meta:
        db_table = "billing_outbox"
        default_permissions = ()

    def __str__(self) -> str:
        return f"entry:{self.entry_id}"


class BillingSwitch(models.Model):
    """One row: while `is_on`, the trigger notes every new entry in the outbox."""

    is_on = models.BooleanField(default=False)

    class Meta:
        db_table = "billing_switch"
        default_permissions = ()

    def __str__(self) -> str:
        return "on" if self.is_on else "off"


class LedgerCheckpoint(models.Model):
    """The sum of an account's entries up to an id below which no transaction can still add one."""

    account_id = models.BigIntegerField(primary_key=True)
    upto = models.BigIntegerField()
    total = models.BigIntegerField()

    class Meta:
        db_table = "ledger_checkpoint"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.account_id} {self.total}"


class LedgerMismatch(models.Model):
    """An account whose balance is not the sum of its entries; removed when it is again."""

    account_id = models.BigIntegerField(primary_key=True)
    balance = models.BigIntegerField()
    total = models.BigIntegerField()
    found_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "ledger_mismatch"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.account_id}: {self.balance} is not {self.total}"
