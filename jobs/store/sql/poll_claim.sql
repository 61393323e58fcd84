-- News of a poll: a task that still waits as it did when it was asked about is this worker's, to be settled.
WITH l AS MATERIALIZED (
  SELECT t.id, t.state AS was FROM task t JOIN unnest(%(ids)s::uuid[], %(tokens)s::int[]) AS a(id, token) ON a.id = t.id
  WHERE t.id = ANY(%(ids)s::uuid[]) AND t.state + 0 IN (3, 4) AND t.token = a.token
  ORDER BY t.id FOR NO KEY UPDATE OF t SKIP LOCKED
), u AS (
  UPDATE task t SET state = 2, worker_id = w.id, token = t.token + 1, runs = t.runs + 1, run_at = NULL,
    started_at = clock_timestamp()
  FROM l, worker w WHERE t.id = l.id AND w.id = %(worker)s AND w.dead_at IS NULL
  RETURNING t.id, t.token, t.runs, t.queue_id, l.was
), s AS (
  INSERT INTO stat_delta (queue_id, metric, n)
  SELECT queue_id, m, sum(k) FROM u, LATERAL (VALUES (was, -1), (2, 1)) v(m, k) GROUP BY 1, 2
)
SELECT u.id::text, u.token, u.runs, i.trace_id FROM u JOIN task_info i ON i.id = u.id
