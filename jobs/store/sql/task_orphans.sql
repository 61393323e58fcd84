-- Active rows under no living worker that must end rather than run again: too many crashes, or a cancellation.
SELECT t.id::text, t.cancel FROM task t
WHERE t.state = 2 AND (t.cancel > 0 OR t.crashes >= %(crash_limit)s - 1)
  AND NOT EXISTS (SELECT 1 FROM worker w WHERE w.id = t.worker_id AND w.dead_at IS NULL)
ORDER BY t.id LIMIT 100
