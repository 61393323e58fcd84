-- Remove ended tasks and their side rows; ledger entries and events stay, each with a tombstone written here.
WITH d AS (DELETE FROM task WHERE id = ANY(%(ids)s::uuid[]) RETURNING id, queue_id, state, credits),
  i AS (DELETE FROM task_info WHERE id = ANY(%(ids)s::uuid[])),
  r AS (DELETE FROM task_run WHERE task_id = ANY(%(ids)s::uuid[])),
  p AS (DELETE FROM platform_task WHERE task_id = ANY(%(ids)s::uuid[])),
  w AS (DELETE FROM task_wait WHERE task_id = ANY(%(ids)s::uuid[])),
  a AS (DELETE FROM task_after WHERE task_id = ANY(%(ids)s::uuid[])),
  c AS (DELETE FROM shard_count WHERE task_id = ANY(%(ids)s::uuid[])),
  e AS (INSERT INTO event (task_id, kind, actor, detail)
    SELECT id, 'delete', %(actor)s, jsonb_build_object('was', 'emptied', 'credits', credits) FROM d ORDER BY id),
  s AS (INSERT INTO stat_delta (queue_id, metric, n) SELECT queue_id, state, -count(*) FROM d GROUP BY 1, 2)
SELECT id::text FROM d
