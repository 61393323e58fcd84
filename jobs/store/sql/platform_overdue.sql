-- Archived by hand, not failed yet, and past their time limit on the platform. Few rows are archived at a time.
SELECT t.id::text FROM task t JOIN platform_task p ON p.task_id = t.id
WHERE t.state = 5 AND t.status <> 5 AND p.expires_at <= (SELECT clock_timestamp())
ORDER BY t.id LIMIT 100 FOR NO KEY UPDATE OF t SKIP LOCKED
