-- Remove a task and its side rows; ledger entries and events stay.
WITH d AS (DELETE FROM task WHERE id = %(id)s RETURNING id, queue_id, state),
  i AS (DELETE FROM task_info WHERE id = %(id)s),
  r AS (DELETE FROM task_run WHERE task_id = %(id)s),
  p AS (DELETE FROM platform_task WHERE task_id = %(id)s),
  w AS (DELETE FROM task_wait WHERE task_id = %(id)s),
  a AS (DELETE FROM task_after WHERE task_id = %(id)s),
  c AS (DELETE FROM shard_count WHERE task_id = %(id)s),
  s AS (INSERT INTO stat_delta (queue_id, metric, n) SELECT queue_id, state, -1 FROM d)
SELECT id::text FROM d
