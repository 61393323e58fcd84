-- Which of these tasks somebody else keeps locked: the row, its parent's count or, where money moves, its account.
-- Waits for nobody; the locks that it gets it drops at once.
WITH t AS MATERIALIZED (
  SELECT id, account_id, parent_id FROM task WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), p AS MATERIALIZED (
  SELECT task_id FROM shard_count WHERE task_id IN (SELECT parent_id FROM t) ORDER BY task_id
  FOR NO KEY UPDATE SKIP LOCKED
), a AS MATERIALIZED (
  SELECT id FROM account WHERE %(money)s AND id IN (SELECT account_id FROM t) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), free AS (
  SELECT id FROM t WHERE (NOT %(money)s OR account_id IS NULL OR account_id IN (SELECT id FROM a))
    AND NOT EXISTS (SELECT FROM shard_count s WHERE s.task_id = t.parent_id AND s.task_id NOT IN (SELECT task_id FROM p))
)
SELECT id::text FROM task WHERE id = ANY(%(ids)s::uuid[]) AND id NOT IN (SELECT id FROM free)
