-- Waiting tasks whose time has come: pending, at the tail of their queue. Push the tickets after COMMIT.
-- The time limit of platform tasks begins now.
WITH l AS MATERIALIZED (
  SELECT id FROM task WHERE id = ANY(%(ids)s::uuid[]) AND state + 0 = 7 ORDER BY id FOR NO KEY UPDATE
), u AS (
  UPDATE task t SET state = 1, ticket = %(ticket)s, ord = (extract(epoch FROM clock_timestamp()) * 1e6)::bigint
  FROM l WHERE t.id = l.id RETURNING t.id, t.queue_id, t.lane
), w AS (DELETE FROM task_wait USING u WHERE task_id = u.id),
p AS (
  UPDATE platform_task x SET expires_at = clock_timestamp() + f.time_limit_s * interval '1 second'
  FROM u, platform f WHERE x.task_id = u.id AND f.id = x.platform_id
), s AS (
  INSERT INTO stat_delta (queue_id, metric, n)
  SELECT queue_id, m, sum(k) FROM u, (VALUES (7, -1), (1, 1)) v(m, k) GROUP BY 1, 2
)
SELECT id::text, queue_id, lane FROM u
