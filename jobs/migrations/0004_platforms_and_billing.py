"""Two-phase cancels, rates, webhooks seen, the billing outbox and its trigger, what the ledger's check remembers."""

import django.db.models.functions.datetime
from django.db import migrations, models


OUTBOX = """
INSERT INTO billing_switch (id, is_on) VALUES (1, false);
CREATE FUNCTION note_for_billing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO billing_outbox (entry_id)
  SELECT id FROM fresh WHERE (SELECT is_on FROM billing_switch WHERE id = 1);
  RETURN NULL;
END $$;
CREATE TRIGGER entry_for_billing AFTER INSERT ON credit_entry REFERENCING NEW TABLE AS fresh
  FOR EACH STATEMENT EXECUTE FUNCTION note_for_billing();
"""
OUTBOX_BACK = "DROP TRIGGER entry_for_billing ON credit_entry; DROP FUNCTION note_for_billing();"

ENDED = """
UPDATE platform_task p SET ended_at = clock_timestamp()
FROM task t WHERE t.id = p.task_id AND t.status IN (4, 5, 9)
"""


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0003_migration'),
    ]

    operations = [
        migrations.CreateModel(
            name='BillingOutbox',
            fields=[
                ('entry_id', models.BigIntegerField(primary_key=True, serialize=False)),
            ],
            options={
                'db_table': 'billing_outbox',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='BillingSwitch',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('is_on', models.BooleanField(default=False)),
            ],
            options={
                'db_table': 'billing_switch',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='LedgerCheckpoint',
            fields=[
                ('account_id', models.BigIntegerField(primary_key=True, serialize=False)),
                ('upto', models.BigIntegerField()),
                ('total', models.BigIntegerField()),
            ],
            options={
                'db_table': 'ledger_checkpoint',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='LedgerMismatch',
            fields=[
                ('account_id', models.BigIntegerField(primary_key=True, serialize=False)),
                ('balance', models.BigIntegerField()),
                ('total', models.BigIntegerField()),
                ('found_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'ledger_mismatch',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='PlatformGate',
            fields=[
                ('platform_id', models.BigIntegerField(primary_key=True, serialize=False)),
                ('next_at', models.DateTimeField()),
                ('promised_at', models.DateTimeField()),
            ],
            options={
                'db_table': 'platform_gate',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='WebhookDelivery',
            fields=[
                ('key', models.TextField(primary_key=True, serialize=False)),
                ('seen_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'webhook_delivery',
                'default_permissions': (),
            },
        ),
        migrations.AddField(
            model_name='platformtask',
            name='cancel_answer',
            field=models.TextField(null=True),
        ),
        migrations.AddField(
            model_name='platformtask',
            name='cancel_requested_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='platformtask',
            name='ended_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name='platformtask',
            index=models.Index(condition=models.Q(('ended_at__isnull', True), ('submit_started_at__isnull', False)), fields=['platform_id'], name='platform_open'),
        ),
        migrations.AddIndex(
            model_name='webhookdelivery',
            index=models.Index(fields=['seen_at'], name='delivery_age'),
        ),
        migrations.RunSQL(ENDED, migrations.RunSQL.noop),
        migrations.RunSQL(OUTBOX, OUTBOX_BACK),
    ]
