-- End or hold tasks that nobody runs (or that are taken from their runner): cancel, fail, dead letter.
-- Only from the states given; the token grows, so a run still going on cannot write. Same refund rule as a settle.
WITH l AS MATERIALIZED (
  SELECT t.* FROM task t
  WHERE t.id = ANY(%(ids)s::uuid[]) AND (t.state + 0) = ANY(%(from_states)s::smallint[])
  ORDER BY t.id FOR NO KEY UPDATE
), u AS (
  UPDATE task t SET state = %(state)s, status = %(status)s, worker_id = NULL, run_at = NULL, ticket = 0,
    token = t.token + 1, crashes = t.crashes + %(crashed)s,
    queue_id = CASE WHEN %(dead)s THEN %(dead_queue)s ELSE l.queue_id END,
    origin_id = CASE WHEN %(dead)s AND l.queue_id <> %(dead_queue)s THEN l.queue_id ELSE l.origin_id END,
    finished_at = CASE WHEN %(state)s = 6 THEN clock_timestamp() END,
    expires_at = clock_timestamp() + CASE WHEN %(state)s = 6 THEN t.retention_s ELSE %(dead_retention_s)s END * interval '1 second'
  FROM l WHERE t.id = l.id
), r AS (
  INSERT INTO task_run (task_id, token, run, kind, worker_id, started_at, ended_at, error)
  SELECT id, token, runs, %(kind)s, worker_id, started_at, clock_timestamp(), %(error)s::text FROM l
  WHERE %(error)s::text IS NOT NULL
), f AS (
  INSERT INTO credit_entry (account_id, kind, amount, task_id, cycle, reason, actor)
  SELECT account_id, 3, credits, id, cycle, %(reason)s, %(actor)s FROM l
  WHERE credits > 0 AND %(status)s IN (5, 9) ORDER BY id
  ON CONFLICT (task_id, cycle) WHERE kind = 3 DO NOTHING
  RETURNING task_id, account_id, amount
), w AS (DELETE FROM task_wait x USING l WHERE x.task_id = l.id AND l.state = 7
), a AS (DELETE FROM task_after x USING l WHERE x.task_id = l.id AND l.state = 7
), s AS (
  INSERT INTO stat_delta (queue_id, metric, n)
  SELECT q, m, sum(k) FROM (
    SELECT queue_id AS q, state AS m, -1 AS k FROM l
    UNION ALL SELECT CASE WHEN %(dead)s THEN %(dead_queue)s ELSE queue_id END, %(state)s, 1 FROM l
    UNION ALL SELECT queue_id, 10, 1 FROM l WHERE state = 2
    UNION ALL SELECT queue_id, 11, 1 FROM l WHERE state = 2 AND %(status)s = 5
    UNION ALL SELECT queue_id, 15, 1 FROM l WHERE %(crashed)s > 0
    UNION ALL SELECT l.queue_id, 13, 1 FROM f JOIN l ON l.id = f.task_id
    UNION ALL SELECT l.queue_id, 14, f.amount FROM f JOIN l ON l.id = f.task_id) d GROUP BY 1, 2
)
SELECT l.id::text, l.queue_id, l.state AS was, l.flags, l.parent_id::text, l.credits, f.account_id, f.amount, l.worker_id, l.status, l.limit_id
FROM l LEFT JOIN f ON f.task_id = l.id
