-- Report: what lies in the dead letters, newest first, each with its last error.
SELECT t.id::text AS task, i.type, coalesce(o.name, q.name) AS origin_queue, i.user_id, t.credits, i.created_at,
  (SELECT r.error FROM task_run r WHERE r.task_id = t.id ORDER BY r.id DESC LIMIT 1) AS last_error
FROM task t JOIN task_info i ON i.id = t.id JOIN queue q ON q.id = t.queue_id LEFT JOIN queue o ON o.id = t.origin_id
WHERE t.state = 5 AND i.created_at >= now() - %(days)s * interval '1 day' ORDER BY t.id DESC
