-- What waits for its platform comes within one interval, spread over it: polls without a claim, and tasks that were there before.
WITH l AS MATERIALIZED (
  SELECT t.id FROM platform_task p JOIN task t ON t.id = p.task_id
  WHERE p.platform_id = %(platform)s AND p.poll_at IS NULL AND t.state = 3 AND (t.runs > 0 OR p.external_id IS NOT NULL)
    AND t.run_at > clock_timestamp() + %(max_s)s * interval '1 second'
  LIMIT 20000 FOR NO KEY UPDATE OF t SKIP LOCKED
), u AS (
  UPDATE task t SET run_at = clock_timestamp() + random() * %(max_s)s * interval '1 second' FROM l WHERE t.id = l.id
), q AS MATERIALIZED (
  SELECT task_id FROM platform_task
  WHERE platform_id = %(platform)s AND submit_started_at IS NOT NULL AND ended_at IS NULL
    AND poll_at > clock_timestamp() + %(max_s)s * interval '1 second'
  LIMIT 20000 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE platform_task p SET poll_at = clock_timestamp() + random() * %(max_s)s * interval '1 second'
FROM q WHERE p.task_id = q.task_id
