"""Queues that can be deleted, tenants that run only so much, and what tells caches of queues that they are old."""

from django.db import migrations, models


CHANGES = """
CREATE INDEX queue_stat_metric ON queue_stat (metric, queue_id);
CREATE FUNCTION note_queue_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE control SET queues = (random() * 9e18)::bigint WHERE id = 1;
  RETURN NULL;
END $$;
CREATE TRIGGER queue_changed AFTER INSERT OR DELETE
  OR UPDATE OF name, tenant_id, base_id, weight, capacity, concurrency, paused, removed ON queue
  FOR EACH STATEMENT EXECUTE FUNCTION note_queue_change();
"""
CHANGES_BACK = "DROP TRIGGER queue_changed ON queue; DROP FUNCTION note_queue_change(); DROP INDEX queue_stat_metric;"


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0015_platform_silence'),
    ]

    operations = [
        migrations.AddField(
            model_name='control',
            name='queues',
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='queue',
            name='removed',
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name='tenant',
            name='max_active',
            field=models.IntegerField(null=True),
        ),
        migrations.AddIndex(
            model_name='queue',
            index=models.Index(condition=models.Q(('level__gt', 0)), fields=['id'], name='queue_pressed'),
        ),
        migrations.AddIndex(
            model_name='queue',
            index=models.Index(fields=['tenant_id'], name='queue_tenant'),
        ),
        migrations.AddIndex(
            model_name='tenant',
            index=models.Index(condition=models.Q(('max_active__isnull', False)), fields=['id'], name='tenant_limited'),
        ),
        migrations.RunSQL(CHANGES, CHANGES_BACK),
    ]
