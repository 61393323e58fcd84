-- Keys that are old enough, from a place on: those whose task is gone go. Bounded by what is looked at, not by what goes.
WITH l AS MATERIALIZED (
  SELECT key, created_at, task_id FROM idempotency
  WHERE created_at < (SELECT clock_timestamp()) - %(kept_s)s * interval '1 second'
    AND (created_at, key) > (%(after)s::timestamptz, %(after_key)s::text)
  ORDER BY created_at, key LIMIT %(limit)s
), d AS (
  DELETE FROM idempotency i USING l WHERE i.key = l.key AND i.created_at = l.created_at
    AND NOT EXISTS (SELECT 1 FROM task t WHERE t.id = l.task_id)
)
SELECT count(*) OVER (), created_at, key FROM l ORDER BY created_at DESC, key DESC LIMIT 1
