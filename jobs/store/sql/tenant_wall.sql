-- The second wall between tenants: reads of other tenants' keys run as a role that sees its own tenant's rows only.
-- Run after each migrate; leaves what is there. Names of queues and workers stay readable; the owner and other roles see all.
DO $wall$
DECLARE
  mine CONSTANT text := '(SELECT current_setting(''taskcenter.tenant_id'')::int)';
  name text;
  rule text;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'taskcenter_tenant') THEN
    CREATE ROLE taskcenter_tenant NOLOGIN;
  END IF;
  IF NOT pg_has_role(current_user, 'taskcenter_tenant', 'MEMBER') THEN
    EXECUTE format('GRANT taskcenter_tenant TO %I', current_user);
  END IF;
  GRANT USAGE ON SCHEMA public TO taskcenter_tenant;
  GRANT SELECT ON queue, worker, queue_stat, stat_delta, control, redis_shard, breaker, queue_day, task_wait, task_after,
    rate_reading
    TO taskcenter_tenant;
  FOR name, rule IN SELECT * FROM (VALUES
    ('task', 'tenant_id = ' || mine), ('task_info', 'tenant_id = ' || mine), ('schedule', 'tenant_id = ' || mine),
    ('plan', 'tenant_id = ' || mine), ('platform', 'tenant_id = ' || mine), ('account', 'tenant_id = ' || mine),
    ('api_key', 'tenant_id = ' || mine), ('task_limit', 'tenant_id = ' || mine), ('tenant', 'id = ' || mine),
    ('task_run', 'EXISTS (SELECT FROM task t WHERE t.id = task_id)'),
    ('event', 'EXISTS (SELECT FROM task t WHERE t.id = task_id)'),
    ('platform_task', 'EXISTS (SELECT FROM task t WHERE t.id = task_id)'),
    ('migrated_row', 'EXISTS (SELECT FROM task t WHERE t.id = task_id)'),
    ('shard_count', 'EXISTS (SELECT FROM task t WHERE t.id = task_id)'),
    ('credit_entry', 'EXISTS (SELECT FROM account a WHERE a.id = account_id)'),
    ('schedule_tick', 'EXISTS (SELECT FROM schedule s WHERE s.id = schedule_id)'),
    ('plan_item', 'EXISTS (SELECT FROM plan p WHERE p.id = plan_id)'),
    ('audit_entry', 'tenant_id = ' || mine)) AS v(a, b)
  LOOP
    IF EXISTS (SELECT FROM pg_policies WHERE schemaname = 'public' AND tablename = name AND policyname = 'own_tenant') THEN
      CONTINUE;
    END IF;
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY everybody ON %I USING (true) WITH CHECK (true)', name);
    EXECUTE format('GRANT SELECT ON %I TO taskcenter_tenant', name);
    EXECUTE format('CREATE POLICY own_tenant ON %I AS RESTRICTIVE FOR SELECT TO taskcenter_tenant USING (%s)', name, rule);
  END LOOP;
EXCEPTION WHEN insufficient_privilege THEN
  RAISE WARNING 'no second wall between tenants: %', SQLERRM;
END $wall$
