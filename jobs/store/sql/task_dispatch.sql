-- Due rows become pending, oldest first; members of a group join it, those under a limit its line. The sub-select makes the clock an index condition, not a filter.
-- Run with enable_sort and enable_bitmapscan off; push the returned tickets only after COMMIT.
WITH l AS MATERIALIZED (
  SELECT id, queue_id, state, run_at,
    flags & 16 > 0 OR (flags & 128 > 0 AND NOT (flags & 2 > 0 AND runs > 0)) AS waits FROM task
  WHERE run_at <= (SELECT clock_timestamp()) AND run_at > %(floor)s
  ORDER BY run_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
), u AS (
  UPDATE task t SET state = CASE WHEN l.waits THEN 7 ELSE 1 END, run_at = NULL,
    ticket = CASE WHEN l.waits THEN 0 ELSE %(epoch)s END, ord = (extract(epoch FROM l.run_at) * 1e6)::bigint
  FROM l WHERE t.id = l.id RETURNING t.id, t.queue_id, t.lane, t.ord, t.state AS now, l.state AS was, l.run_at, t.limit_id
), s AS (
  INSERT INTO stat_delta (queue_id, metric, n)
  SELECT queue_id, m, sum(k) FROM u, LATERAL (VALUES (was, -1), (now, 1)) v(m, k) GROUP BY 1, 2
)
SELECT id::text, queue_id, lane, run_at, now, limit_id FROM u ORDER BY ord
