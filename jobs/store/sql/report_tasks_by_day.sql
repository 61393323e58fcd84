-- Report: tasks created per UTC day and type, newest day first, with how they stand.
SELECT (i.created_at AT TIME ZONE 'UTC')::date AS day, i.type, count(*) AS tasks,
  count(*) FILTER (WHERE t.status = 4) AS succeeded, count(*) FILTER (WHERE t.status = 5) AS failed,
  count(*) FILTER (WHERE t.status = 9) AS cancelled, coalesce(sum(t.credits), 0)::bigint AS credits
FROM task_info i JOIN task t ON t.id = i.id
WHERE i.created_at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - (%(days)s - 1) * interval '1 day'
GROUP BY 1, 2 ORDER BY 1 DESC, 2
