-- A webhook's hint: the task's next poll is due, a second after the last one at the earliest.
UPDATE task t SET run_at = least(t.run_at,
  greatest(clock_timestamp(), coalesce(p.polled_at, clock_timestamp() - interval '1 second') + interval '1 second'))
FROM platform_task p WHERE t.id = %(id)s AND p.task_id = t.id AND t.state IN (3, 4) RETURNING t.id::text
