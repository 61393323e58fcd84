-- Due rows become pending, oldest first; members of a group join it. The sub-select makes the clock an index condition, not a filter.
-- Run with enable_sort and enable_bitmapscan off; push the returned tickets only after COMMIT.
WITH l AS MATERIALIZED (
  SELECT id, queue_id, state, run_at FROM task
  WHERE run_at <= (SELECT clock_timestamp()) AND run_at > %(floor)s
  ORDER BY run_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
), u AS (
  UPDATE task t SET state = CASE WHEN t.flags & 16 > 0 THEN 7 ELSE 1 END, run_at = NULL,
    ticket = CASE WHEN t.flags & 16 > 0 THEN 0 ELSE %(epoch)s END, ord = (extract(epoch FROM l.run_at) * 1e6)::bigint
  FROM l WHERE t.id = l.id RETURNING t.id, t.queue_id, t.lane, t.ord, t.state AS now, l.state AS was, l.run_at
), s AS (
  INSERT INTO stat_delta (queue_id, metric, n)
  SELECT queue_id, m, sum(k) FROM u, LATERAL (VALUES (was, -1), (now, 1)) v(m, k) GROUP BY 1, 2
)
SELECT id::text, queue_id, lane, run_at, now FROM u ORDER BY ord
