-- The queues that have pending tasks: one probe of the partial index for each of them, however many tasks there are.
WITH RECURSIVE q AS (
  (SELECT queue_id FROM task WHERE state = 1 ORDER BY queue_id LIMIT 1)
  UNION ALL
  SELECT (SELECT t.queue_id FROM task t WHERE t.state = 1 AND t.queue_id > q.queue_id ORDER BY t.queue_id LIMIT 1)
  FROM q WHERE q.queue_id IS NOT NULL
)
SELECT queue_id FROM q WHERE queue_id IS NOT NULL
