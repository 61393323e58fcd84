-- An id learnt outside a settle: by a run that is not settled any more, or from a webhook.
-- The same run-through only, and only where the id is missing; a parked task is due now.
WITH p AS (
  UPDATE platform_task p SET external_id = %(external_id)s, raw_status = coalesce(%(raw_status)s, p.raw_status),
    urls = %(urls)s::jsonb, submitted_at = clock_timestamp(), silent_since = NULL
  FROM task t
  WHERE p.task_id = %(id)s AND t.id = p.task_id AND t.cycle = coalesce(%(cycle)s::int, t.cycle)
    AND p.platform_id = coalesce(%(platform)s::bigint, p.platform_id)
    AND p.external_id IS NULL AND p.submit_started_at IS NOT NULL
  RETURNING p.task_id, p.platform_id, p.ended_at IS NOT NULL AS ended
), u AS (
  UPDATE task t SET run_at = clock_timestamp() FROM p WHERE t.id = p.task_id AND t.state IN (3, 4)
)
SELECT platform_id, ended FROM p
