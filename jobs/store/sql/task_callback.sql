-- What the callbacks of these ended tasks say.
SELECT t.id::text, t.state, t.status, i.options ->> 'callback_url', (i.options -> 'headers')::text, t.credits,
  coalesce((SELECT sum(e.amount) FROM credit_entry e WHERE e.task_id = t.id AND e.kind = 3), 0)::bigint,
  coalesce(t.finished_at, clock_timestamp()), r.error, r.result::text, i.trace_id, i.custom_id, i.user_id, t.tenant_id
FROM task t JOIN task_info i ON i.id = t.id
LEFT JOIN LATERAL (SELECT left(split_part(error, E'\n', 1), 1000) AS error, result FROM task_run r WHERE r.task_id = t.id ORDER BY r.id DESC LIMIT 1) r ON true
WHERE t.id = ANY(%(ids)s::uuid[]) AND i.options ->> 'callback_url' IS NOT NULL
