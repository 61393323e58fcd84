-- Insert tasks with their facts and counters; state and ord come from the database's clock.
-- One row per element of a JSON array; an absent field is its column's default.
-- Returns what a ticket and an answer need. A taken id is left out of the answer.
WITH c AS MATERIALIZED (SELECT clock_timestamp() AS now), n AS (
  SELECT i.*, c.now, coalesce(i.at, c.now + coalesce(i.delay_s, 0) * interval '1 second') AS due
  FROM c, ROWS FROM (json_to_recordset(%(rows)s::json) AS (
    id uuid, queue_id int, tenant_id int, lane smallint, delay_s float8, at timestamptz, deadline timestamptz,
    timeout_ms int, retention_s int, flags int, max_retries smallint, credits bigint, account_id bigint,
    parent_id uuid, waits boolean, front boolean, ticket int, type text, user_id bigint, business_id text,
    trace_id text, custom_id text, platform text, tags text[], payload jsonb, options jsonb, limit_id bigint))
    WITH ORDINALITY AS i(id, queue_id, tenant_id, lane, delay_s, at, deadline, timeout_ms, retention_s, flags,
      max_retries, credits, account_id, parent_id, waits, front, ticket, type, user_id, business_id, trace_id,
      custom_id, platform, tags, payload, options, limit_id, nr)
), p AS (
  SELECT n.*, CASE WHEN waits THEN 7 WHEN due > now THEN 3 WHEN limit_id IS NOT NULL THEN 7 ELSE 1 END AS state,
    (extract(epoch FROM now) * 1e6)::bigint + nr AS us
  FROM n
), t AS (
  INSERT INTO task (id, ord, run_at, deadline, account_id, credits, parent_id, queue_id, tenant_id, token, ticket,
    timeout_ms, retention_s, flags, runs, retried, max_retries, crashes, cycle, state, status, lane, cancel, progress,
    limit_id)
  SELECT id, CASE WHEN front THEN -us ELSE us END, CASE WHEN state = 3 THEN due END, deadline, account_id, coalesce(credits, 0),
    parent_id, queue_id, tenant_id, 0, CASE WHEN state = 1 THEN coalesce(ticket, 0) ELSE 0 END,
    timeout_ms, retention_s, coalesce(flags, 0), 0, 0, max_retries, 0, 0, state, 0, coalesce(lane, 0), 0, 0, limit_id
  FROM p ORDER BY id
  ON CONFLICT (id) DO NOTHING
  RETURNING id, queue_id, lane, state, ticket, run_at
), i AS (
  INSERT INTO task_info (id, tenant_id, type, queue_id, user_id, business_id, trace_id, custom_id, platform, tags,
    payload, options, created_at)
  SELECT p.id, tenant_id, type, p.queue_id, user_id, business_id, trace_id, custom_id, platform, coalesce(tags, '{}'),
    coalesce(payload, 'null'), options, p.now  -- a payload of null comes out of the record as no value
  FROM p JOIN t ON t.id = p.id
), s AS (
  INSERT INTO stat_delta (queue_id, metric, n)
  SELECT queue_id, metric, count(*) FROM t, LATERAL (VALUES (t.state), (12)) m(metric) GROUP BY 1, 2
)
SELECT t.id::text, t.queue_id, t.lane, t.state, t.ticket, t.run_at, c.now FROM t, c
