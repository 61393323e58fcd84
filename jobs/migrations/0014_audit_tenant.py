"""Whose key a line of the audit log is of; what the default tenant, people and commands did is of the default tenant."""

from django.db import migrations, models

# What keys of tenants did before the column was there; their names in the log never change.
FILL = """
ALTER TABLE audit_entry DISABLE TRIGGER audit_append_only;
UPDATE audit_entry a SET tenant_id = k.tenant_id FROM api_key k
  WHERE k.tenant_id <> 1 AND a.actor = 'key:' || k.name || ' (' || k.key_id || ')';
ALTER TABLE audit_entry ENABLE TRIGGER audit_append_only;
"""

# The second wall told a tenant's lines by the names of its keys; it is built anew after each migrate.
WALL = """
DROP POLICY IF EXISTS own_tenant ON audit_entry;
DROP POLICY IF EXISTS everybody ON audit_entry;
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0013_groups_in_order")]

    operations = [
        migrations.AddField(
            model_name="auditentry",
            name="tenant_id",
            field=models.IntegerField(db_default=1, default=1),
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.RunSQL(WALL, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["tenant_id", "-id"], name="audit_tenant"),
        ),
        migrations.AlterModelOptions(
            name="tenant",
            options={
                "default_permissions": ("view",),
                "permissions": [("manage_tenant", "Can create and change tenants")],
                "verbose_name": "tenant",
                "verbose_name_plural": "tenants",
            },
        ),
    ]
