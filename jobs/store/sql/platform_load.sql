-- What is known of tasks on their platforms; left_s runs to the time limit by the database's clock.
SELECT p.task_id::text, p.platform_id, p.external_id, p.raw_status, p.polls, p.unknowns, p.contact_errors,
  p.submit_started_at IS NOT NULL, extract(epoch FROM p.expires_at - clock_timestamp())::float8, t.cycle,
  p.cancel_requested_at IS NOT NULL, p.cancel_answer, p.urls::text, t.progress
FROM platform_task p JOIN task t ON t.id = p.task_id WHERE p.task_id = ANY(%(ids)s::uuid[])
