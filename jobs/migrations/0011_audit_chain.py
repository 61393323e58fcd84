"""The audit log's hash chain: links are appended after the fact, so that no change waits for another's commit."""

from django.db import migrations, models

TRIGGERS = """
CREATE FUNCTION note_unlinked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit_unlinked (entry_id) VALUES (NEW.id);
  RETURN NULL;
END $$;
CREATE TRIGGER audit_noted AFTER INSERT ON audit_entry FOR EACH ROW EXECUTE FUNCTION note_unlinked();
CREATE TRIGGER link_append_only BEFORE UPDATE OR DELETE ON audit_link FOR EACH ROW
  EXECUTE FUNCTION refuse_change('the audit chain is append-only');
INSERT INTO audit_unlinked (entry_id) SELECT id FROM audit_entry;
"""

BACK = """
DROP TRIGGER link_append_only ON audit_link;
DROP TRIGGER audit_noted ON audit_entry;
DROP FUNCTION note_unlinked();
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0010_digest_key")]
    operations = [
        migrations.CreateModel(
            name="AuditLink",
            fields=[
                ("seq", models.BigIntegerField(primary_key=True, serialize=False)),
                ("entry_id", models.BigIntegerField(unique=True)),
                ("hash", models.TextField()),
            ],
            options={"db_table": "audit_link", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="AuditUnlinked",
            fields=[("entry_id", models.BigIntegerField(primary_key=True, serialize=False))],
            options={"db_table": "audit_unlinked", "default_permissions": ()},
        ),
        migrations.RunSQL(TRIGGERS, BACK),
    ]
