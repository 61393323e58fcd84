-- Claim tickets: active, token + 1, mine. Reads queue and worker without lock, so a pause is exact at its commit.
-- `state + 0` keeps the planner off the partial indexes, whose statistics follow the tide.
WITH l AS MATERIALIZED (
  SELECT t.id FROM task t WHERE t.id = ANY(%(ids)s::uuid[]) AND t.state + 0 = 1
  ORDER BY t.id FOR NO KEY UPDATE SKIP LOCKED
), u AS (
  UPDATE task t SET state = 2, worker_id = w.id, token = t.token + 1, runs = t.runs + 1, ticket = 0,
    status = CASE WHEN t.lane = 3 THEN t.status ELSE 3 END, started_at = clock_timestamp()
  FROM l, worker w, queue q
  WHERE t.id = l.id AND w.id = %(worker)s AND w.dead_at IS NULL AND q.id = t.queue_id AND NOT q.paused
    AND NOT q.tenant_paused
  RETURNING t.id, t.token, t.queue_id, t.lane, t.timeout_ms, t.credits, t.flags, t.runs, t.retried,
    t.max_retries, t.crashes, t.status, t.tenant_id, extract(epoch FROM t.deadline - clock_timestamp())::float8 AS left_s
), s AS (
  INSERT INTO stat_delta (queue_id, metric, n)
  SELECT queue_id, m, sum(k) FROM u, (VALUES (1, -1), (2, 1)) v(m, k) GROUP BY 1, 2
)
SELECT u.id::text, u.token, u.queue_id, u.lane, u.timeout_ms, u.credits, u.flags, u.runs, u.retried,
  u.max_retries, u.crashes, u.status, u.tenant_id, u.left_s, i.type, i.payload::text, i.options::text,
  i.user_id, i.business_id, i.trace_id, i.platform
FROM u JOIN task_info i ON i.id = u.id
