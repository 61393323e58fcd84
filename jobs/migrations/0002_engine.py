"""What Django's models cannot say: storage settings, counters without keys, append-only triggers, first rows."""

from django.db import migrations

STORAGE = """
ALTER TABLE task SET (
  fillfactor = 70, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_threshold = 5000,
  autovacuum_vacuum_insert_scale_factor = 0.1, vacuum_truncate = off);
ALTER TABLE worker SET (fillfactor = 50);
ALTER TABLE account SET (fillfactor = 50);
CREATE TABLE stat_delta (queue_id int NOT NULL, metric smallint NOT NULL, n bigint NOT NULL)
  WITH (autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0);
CREATE TABLE queue_stat (
  queue_id int NOT NULL, metric smallint NOT NULL, n bigint NOT NULL DEFAULT 0,
  as_of timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (queue_id, metric)) WITH (fillfactor = 20);
"""

STORAGE_BACK = "DROP TABLE stat_delta; DROP TABLE queue_stat;"

GUARDS = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% on % is refused: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER task_ended BEFORE UPDATE ON task FOR EACH ROW WHEN (OLD.state = 6)
  EXECUTE FUNCTION refuse_change('an ended task does not change');
CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE ON credit_entry FOR EACH ROW
  EXECUTE FUNCTION refuse_change('the ledger is append-only');
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit_entry FOR EACH ROW
  EXECUTE FUNCTION refuse_change('the audit log is append-only');
CREATE TRIGGER event_append_only BEFORE UPDATE ON event FOR EACH ROW
  EXECUTE FUNCTION refuse_change('events are append-only');
"""

GUARDS_BACK = """
DROP TRIGGER task_ended ON task;
DROP TRIGGER entry_append_only ON credit_entry;
DROP TRIGGER audit_append_only ON audit_entry;
DROP TRIGGER event_append_only ON event;
DROP FUNCTION refuse_change();
"""

FIRST_ROWS = """
INSERT INTO tenant (slug, name, created_at) VALUES ('default', 'Default', now());
INSERT INTO control (id, version, stopped, stopped_reason) VALUES (1, 1, false, '');
INSERT INTO redis_shard (name, epoch, run_id) VALUES ('default', 1, '');
"""


class Migration(migrations.Migration):
    dependencies = [("jobs", "0001_initial")]
    operations = [
        migrations.RunSQL(STORAGE, STORAGE_BACK),
        migrations.RunSQL(GUARDS, GUARDS_BACK),
        migrations.RunSQL(FIRST_ROWS, migrations.RunSQL.noop),
    ]
