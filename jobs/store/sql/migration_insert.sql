-- Insert migrated rows as scheduled platform tasks with charge and balance kept (+ adjustment, - charge), once per key.
-- Returns the ids that are new. Those with an error are ended by the caller in the same transaction.
WITH c AS MATERIALIZED (SELECT clock_timestamp() AS now), n AS MATERIALIZED (
  SELECT x.*, c.now FROM c, unnest(%(keys)s::text[], %(ids)s::uuid[], %(actions)s::text[], %(reasons)s::text[],
    %(refunds)s::bigint[], %(aliases)s::text[], %(statuses)s::smallint[], %(progress)s::smallint[],
    %(delays_s)s::float8[], %(accounts)s::bigint[], %(credits)s::bigint[], %(users)s::bigint[], %(platforms)s::text[],
    %(platform_ids)s::bigint[], %(time_limits_s)s::int[], %(externals)s::text[], %(raw_statuses)s::text[],
    %(created)s::timestamptz[], %(started)s::timestamptz[], %(submitted)s::timestamptz[], %(polled)s::timestamptz[],
    %(payloads)s::text[], %(urls)s::text[], %(errors)s::text[]) WITH ORDINALITY
    AS x(key, id, action, reason, refund, alias, status, progress, delay_s, account_id, credits, user_id, platform,
      platform_id, time_limit_s, external_id, raw_status, created_at, started_at, submitted_at, polled_at, payload,
      urls, error, nr)
), b AS (
  INSERT INTO migrated_row (key, task_id, action, reason, refund, alias, migrated_at)
  SELECT key, id, action, reason, refund, alias, now FROM n ORDER BY key
  ON CONFLICT (key) DO NOTHING RETURNING key
), t AS (
  INSERT INTO task (id, ord, run_at, started_at, account_id, credits, queue_id, tenant_id, token, ticket, timeout_ms,
    retention_s, flags, runs, retried, max_retries, crashes, cycle, state, status, lane, cancel, progress)
  SELECT id, (extract(epoch FROM now) * 1e6)::bigint + nr, now + delay_s * interval '1 second', started_at, account_id,
    credits, %(queue_id)s, 1, 0, 0, %(timeout_ms)s, %(retention_s)s, 2, 0, 0, %(max_retries)s, 0, 0, 3, status,
    3, 0, progress
  FROM n JOIN b USING (key) ORDER BY id
  ON CONFLICT (id) DO NOTHING RETURNING id
), w AS MATERIALIZED (
  SELECT n.* FROM n JOIN t USING (id)
), i AS (
  INSERT INTO task_info (id, tenant_id, type, queue_id, user_id, business_id, platform, tags, payload, options, created_at)
  SELECT id, 1, 'platform:run', %(queue_id)s, user_id, alias, platform, '{migrated}', payload::jsonb, '{}', created_at
  FROM w
), p AS (
  INSERT INTO platform_task (task_id, platform_id, external_id, raw_status, polls, unknowns, contact_errors,
    submit_started_at, submitted_at, polled_at, expires_at, urls)
  SELECT id, platform_id, external_id, raw_status, 0, 0, 0, submitted_at, submitted_at, polled_at,
    submitted_at + time_limit_s * interval '1 second', urls::jsonb
  FROM w
), e AS (
  INSERT INTO credit_entry (account_id, kind, amount, task_id, cycle, reason, actor)
  SELECT account_id, kind, sign * credits, id, 0, 'migration', 'migrate'
  FROM w, (VALUES (4, 1), (2, -1)) v(kind, sign) WHERE credits > 0 ORDER BY id, kind DESC
), r AS (
  INSERT INTO task_run (task_id, token, run, kind, started_at, ended_at, error)
  SELECT id, 0, 0, 6, started_at, now, error FROM w WHERE error IS NOT NULL
), s AS (
  INSERT INTO stat_delta (queue_id, metric, n)
  SELECT %(queue_id)s, metric, count(*) FROM w, (VALUES (3), (12)) m(metric) GROUP BY metric
)
SELECT id::text FROM t
