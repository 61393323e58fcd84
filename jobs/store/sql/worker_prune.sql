-- Rows of workers that have been dead for long; one whose runs are not rescued yet stays.
DELETE FROM worker w
WHERE w.id = ANY(ARRAY(
    SELECT id FROM worker WHERE dead_at < (SELECT clock_timestamp()) - %(kept_s)s * interval '1 second'
    ORDER BY dead_at LIMIT %(limit)s))
  AND NOT EXISTS (SELECT 1 FROM task t WHERE t.state = 2 AND t.worker_id = w.id)
RETURNING 1
