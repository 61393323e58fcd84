-- Remove what outlived its retention, a bounded batch; counters and side tables follow.
-- A dead letter that others wait for stays: removing it would leave them waiting for ever.
WITH l AS MATERIALIZED (
  SELECT id FROM task WHERE expires_at <= (SELECT clock_timestamp()) AND state IN (5, 6) AND NOT (state = 5 AND flags & 40 > 0)
  ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), d AS (DELETE FROM task t USING l WHERE t.id = l.id RETURNING t.id, t.queue_id, t.state),
  i AS (DELETE FROM task_info t USING l WHERE t.id = l.id),
  r AS (DELETE FROM task_run t USING l WHERE t.task_id = l.id),
  p AS (DELETE FROM platform_task t USING l WHERE t.task_id = l.id),
  c AS (DELETE FROM shard_count t USING l WHERE t.task_id = l.id),
  s AS (INSERT INTO stat_delta (queue_id, metric, n) SELECT queue_id, state, -count(*) FROM d GROUP BY 1, 2)
SELECT id::text, state FROM d
