-- Active rows whose worker is missing or dead go back to the head of their queue with a new token.
-- From the second crash on a task runs alone in the process lane, so that only the guilty one is convicted.
-- Rows at their crash limit or with an open cancellation are left for task_convict.
WITH l AS MATERIALIZED (
  SELECT t.id, t.queue_id, t.worker_id, t.started_at FROM task t
  WHERE t.state = 2 AND t.cancel = 0 AND t.crashes < %(crash_limit)s - 1
    AND NOT EXISTS (SELECT 1 FROM worker w WHERE w.id = t.worker_id AND w.dead_at IS NULL)
  ORDER BY t.id LIMIT 500 FOR NO KEY UPDATE OF t SKIP LOCKED
), u AS (
  UPDATE task t SET state = 1, worker_id = NULL, token = t.token + 1, crashes = t.crashes + 1, ticket = %(epoch)s,
    lane = CASE WHEN t.crashes + 1 >= %(solo_at)s AND t.lane < 2 THEN 2 ELSE t.lane END
  FROM l WHERE t.id = l.id RETURNING t.id, t.queue_id, t.lane, t.token, t.runs, t.crashes, l.worker_id, l.started_at
), r AS (
  INSERT INTO task_run (task_id, token, run, kind, worker_id, started_at, ended_at, error)
  SELECT id, token - 1, runs, 8, worker_id, started_at, clock_timestamp(),
    'WorkerLost: the worker process died while this task ran' FROM u
), e AS (
  INSERT INTO event (task_id, kind, actor, detail)
  SELECT u.id, 'worker_lost', 'system',
    jsonb_build_object('worker', w.name, 'attempt', u.runs, 'crashes', u.crashes, 'reason', 'worker lost')
  FROM u LEFT JOIN worker w ON w.id = u.worker_id
), s AS (
  INSERT INTO stat_delta (queue_id, metric, n)
  SELECT queue_id, m, sum(k) FROM u, (VALUES (2, -1), (1, 1), (15, 1)) v(m, k) GROUP BY 1, 2
)
SELECT id::text, queue_id, lane, crashes FROM u
