"""Who made each key, of older ones by the audit log."""

from django.db import migrations, models


KNOWN = """
UPDATE api_key k SET created_by = a.actor FROM audit_entry a
WHERE a.action = 'key.create' AND NOT a.refused AND a.after ->> 'key_id' = k.key_id
"""


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0020_tenant_pauses'),
    ]

    operations = [
        migrations.AddField(
            model_name='apikey',
            name='created_by',
            field=models.TextField(db_default='', default=''),
        ),
        migrations.RunSQL(KNOWN, migrations.RunSQL.noop),
    ]
