-- Active rows under no living worker that must end rather than run again: too many crashes, or a cancellation.
-- From an id on, so that those that cannot be ended do not hide the others.
SELECT t.id::text, t.cancel FROM task t
WHERE t.state = 2 AND t.id > %(after)s::uuid AND (t.cancel > 0 OR t.crashes >= %(crash_limit)s - 1)
  AND NOT EXISTS (SELECT 1 FROM worker w WHERE w.id = t.worker_id AND w.dead_at IS NULL)
ORDER BY t.id LIMIT %(limit)s
