-- The oldest notes of awaited ends; somebody else's are left alone.
SELECT id, task_id::text, status, flags FROM task_aftermath ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
