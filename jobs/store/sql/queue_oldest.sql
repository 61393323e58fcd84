-- Age of the oldest pending task of each queue that has any (`ord` is +-microseconds, negative at the front).
WITH RECURSIVE q AS (
  (SELECT queue_id FROM task WHERE state = 1 ORDER BY queue_id LIMIT 1)
  UNION ALL
  SELECT (SELECT t.queue_id FROM task t WHERE t.state = 1 AND t.queue_id > q.queue_id ORDER BY t.queue_id LIMIT 1)
  FROM q WHERE q.queue_id IS NOT NULL
)
SELECT q.queue_id, greatest(0, extract(epoch FROM clock_timestamp()) - least(a.us, b.us) / 1e6)::float8 FROM q
LEFT JOIN LATERAL (
  SELECT ord AS us FROM task WHERE state = 1 AND queue_id = q.queue_id AND ord > 0 ORDER BY ord LIMIT 1) a ON true
LEFT JOIN LATERAL (
  SELECT -ord AS us FROM task WHERE state = 1 AND queue_id = q.queue_id AND ord < 0 ORDER BY ord DESC LIMIT 1) b ON true
WHERE q.queue_id IS NOT NULL AND (a.us IS NOT NULL OR b.us IS NOT NULL)
