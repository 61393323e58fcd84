-- Waiting tasks whose time has come: pending, at the tail of their queue, or in the line of their limit. Push the tickets after COMMIT.
-- The time limit of platform tasks begins now.
WITH l AS MATERIALIZED (
  SELECT id FROM task WHERE id = ANY(%(ids)s::uuid[]) AND state + 0 = 7 ORDER BY id FOR NO KEY UPDATE
), u AS (
  UPDATE task t SET state = CASE WHEN t.limit_id IS NULL THEN 1 ELSE 7 END,
    ticket = CASE WHEN t.limit_id IS NULL THEN %(ticket)s ELSE 0 END,
    flags = t.flags | CASE WHEN t.limit_id IS NULL THEN 0 ELSE 128 END, ord = (extract(epoch FROM clock_timestamp()) * 1e6)::bigint
  FROM l WHERE t.id = l.id RETURNING t.id, t.queue_id, t.lane, t.state, t.limit_id
), w AS (DELETE FROM task_wait USING u WHERE task_id = u.id),
p AS (
  UPDATE platform_task x SET expires_at = clock_timestamp() + f.time_limit_s * interval '1 second'
  FROM u, platform f WHERE x.task_id = u.id AND f.id = x.platform_id
), s AS (
  INSERT INTO stat_delta (queue_id, metric, n)
  SELECT queue_id, m, sum(k) FROM u, LATERAL (VALUES (7, -1), (u.state, 1)) v(m, k) GROUP BY 1, 2
)
SELECT id::text, queue_id, lane, state, limit_id FROM u
