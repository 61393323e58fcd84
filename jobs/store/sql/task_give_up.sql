-- The last resort for a run whose end cannot be stored: a dead letter (cancelled if that was asked for), and no more
-- than that in this statement. Fenced like a settle.
WITH l AS MATERIALIZED (
  SELECT t.*, t.cancel > 0 AS cancelled FROM task t
  WHERE t.id = %(id)s::uuid AND t.state + 0 = 2 AND t.worker_id + 0 = %(worker)s AND t.token = %(token)s FOR NO KEY UPDATE
), u AS (
  UPDATE task t SET state = CASE WHEN cancelled THEN 6 ELSE 5 END, status = CASE WHEN cancelled THEN 9 ELSE 5 END,
    worker_id = NULL, queue_id = CASE WHEN cancelled THEN l.queue_id ELSE %(dead_queue)s END,
    origin_id = CASE WHEN cancelled THEN l.origin_id ELSE l.queue_id END,
    finished_at = CASE WHEN cancelled THEN clock_timestamp() END,
    expires_at = clock_timestamp()
      + CASE WHEN cancelled THEN l.retention_s ELSE %(dead_retention_s)s END * interval '1 second'
  FROM l WHERE t.id = l.id
), r AS (
  INSERT INTO task_run (task_id, token, run, kind, worker_id, started_at, ended_at, error)
  SELECT id, token, runs, CASE WHEN cancelled THEN 4 ELSE 3 END, worker_id, started_at, clock_timestamp(), %(error)s FROM l
), s AS (
  INSERT INTO stat_delta (queue_id, metric, n)
  SELECT q, m, k FROM l, LATERAL (VALUES (queue_id, 2, -1),
    (CASE WHEN cancelled THEN queue_id ELSE %(dead_queue)s END, CASE WHEN cancelled THEN 6 ELSE 5 END, 1),
    (queue_id, 10, 1), (queue_id, 11, 1)) v(q, m, k)
)
SELECT id::text, queue_id, flags, parent_id::text, account_id, credits, cycle,
  CASE WHEN cancelled THEN 6 ELSE 5 END, CASE WHEN cancelled THEN 9 ELSE 5 END, limit_id FROM l
