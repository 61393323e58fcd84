-- Tasks that ended within `within_s` seconds while their platform said nothing understood: failed here, perhaps alive there.
-- Those whose submit never left are not.
SELECT p.task_id::text, p.silent_since, p.polls, p.unknowns, p.contact_errors, p.polled_at, p.expires_at,
  p.submit_started_at IS NOT NULL AND p.external_id IS NULL, CASE WHEN pg_column_size(p.answer) <= %(most)s THEN p.answer::text END, p.answer IS NOT NULL, t.tenant_id
FROM platform_task p JOIN task t ON t.id = p.task_id
WHERE p.silent_since IS NOT NULL AND p.ended_at >= clock_timestamp() - %(within_s)s * interval '1 second'
  AND p.submit_started_at IS NOT NULL
  AND (%(platform)s::bigint IS NULL OR p.platform_id = %(platform)s)
ORDER BY p.ended_at DESC LIMIT %(limit)s
