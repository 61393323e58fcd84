"""The operator's pause of a tenant stands with the tenant, and on its queues beside their own pause."""

from django.db import migrations, models


CHANGES = """
DROP TRIGGER queue_changed ON queue;
CREATE TRIGGER queue_changed AFTER INSERT OR DELETE
  OR UPDATE OF name, tenant_id, base_id, weight, capacity, concurrency, paused, removed, tenant_paused ON queue
  FOR EACH STATEMENT EXECUTE FUNCTION note_queue_change();
"""
CHANGES_BACK = """
DROP TRIGGER queue_changed ON queue;
CREATE TRIGGER queue_changed AFTER INSERT OR DELETE
  OR UPDATE OF name, tenant_id, base_id, weight, capacity, concurrency, paused, removed ON queue
  FOR EACH STATEMENT EXECUTE FUNCTION note_queue_change();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0019_breaker_forces'),
    ]

    operations = [
        migrations.AddField(
            model_name='queue',
            name='tenant_paused',
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name='tenant',
            name='paused_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='tenant',
            name='paused_by',
            field=models.TextField(db_default='', default=''),
        ),
        migrations.AddField(
            model_name='tenant',
            name='paused_reason',
            field=models.TextField(db_default='', default=''),
        ),
        migrations.RunSQL(CHANGES, CHANGES_BACK),
    ]
