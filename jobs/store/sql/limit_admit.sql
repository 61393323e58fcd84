-- Under the locks of these limits: the first of each line become pending, as many as have room. They keep their order.
-- The time limit of platform tasks begins now. Push the tickets after COMMIT; those that have waited go to the head.
WITH l AS MATERIALIZED (
  SELECT n.id AS limit_id, x.id
  FROM unnest(%(limits)s::bigint[], %(rooms)s::int[]) AS n(id, room)
  CROSS JOIN LATERAL (
    SELECT t.id FROM task t WHERE t.limit_id = n.id AND t.state = 7 AND t.flags & 128 > 0
    ORDER BY t.ord LIMIT n.room FOR NO KEY UPDATE SKIP LOCKED) x
), u AS (
  UPDATE task t SET state = 1, ticket = %(ticket)s FROM l WHERE t.id = l.id
  RETURNING t.id, t.queue_id, t.lane, t.ord, t.limit_id
), b AS (
  UPDATE task_limit x SET used_at = clock_timestamp(), next_at = CASE WHEN x.starts IS NULL THEN x.next_at ELSE
    greatest(CASE WHEN x.next_at <= clock_timestamp() + interval '1 s' THEN x.next_at END, clock_timestamp() - greatest(0.5, x.per_s / x.starts::float8) * interval '1 second')
      + c.n * x.per_s / x.starts::float8 * interval '1 second' END
  FROM (SELECT limit_id, count(*) AS n FROM u GROUP BY 1) c
  WHERE x.id = c.limit_id AND (x.starts IS NOT NULL OR x.used_at < clock_timestamp() - interval '1 hour')
), p AS (
  UPDATE platform_task x SET expires_at = clock_timestamp() + f.time_limit_s * interval '1 second'
  FROM u, platform f WHERE x.task_id = u.id AND f.id = x.platform_id
), s AS (
  INSERT INTO stat_delta (queue_id, metric, n)
  SELECT queue_id, m, sum(k) FROM u, (VALUES (7, -1), (1, 1)) v(m, k) GROUP BY 1, 2
)
SELECT id::text, queue_id, lane, ord < 0 OR extract(epoch FROM clock_timestamp()) * 1e6 - ord > 1e6
FROM u ORDER BY ord
