-- Open tasks about which their platform has said nothing understood for `for_s` seconds, the longest silence first.
SELECT p.task_id::text, p.silent_since, p.polls, p.unknowns, p.contact_errors, p.polled_at, p.expires_at,
  p.submit_started_at IS NOT NULL AND p.external_id IS NULL, CASE WHEN pg_column_size(p.answer) <= %(most)s THEN p.answer::text END, p.answer IS NOT NULL, t.tenant_id
FROM platform_task p JOIN task t ON t.id = p.task_id
WHERE p.silent_since IS NOT NULL AND p.ended_at IS NULL
  AND p.silent_since <= clock_timestamp() - %(for_s)s * interval '1 second'
  AND (%(platform)s::bigint IS NULL OR p.platform_id = %(platform)s)
  AND (%(after)s::timestamptz IS NULL OR (p.silent_since, p.task_id) > (%(after)s::timestamptz, %(after_id)s::uuid))
ORDER BY p.silent_since, p.task_id LIMIT %(limit)s
