-- Settle a batch of runs, fenced by (worker, token). An open cancellation turns anything but success into CANCELLED.
-- Refund entries are written here; the balance is moved by account_add in the same transaction, last.
WITH o AS (
  SELECT * FROM unnest(%(ids)s::uuid[], %(tokens)s::int[], %(states)s::smallint[], %(statuses)s::smallint[],
    %(delays_s)s::float8[], %(counts)s::boolean[], %(dead)s::boolean[], %(kinds)s::smallint[], %(errors)s::text[],
    %(results)s::text[], %(progress)s::smallint[], %(crashed)s::int[], %(refunds)s::bigint[])
    AS o(id, token, state, status, delay_s, counts, dead, kind, error, result, progress, crashed, refund)
), t AS MATERIALIZED (
  SELECT * FROM task WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR NO KEY UPDATE
), j AS MATERIALIZED (  -- joined before any filter: the planner would expect one row and join 200 x 200 by hand
  SELECT t.id, t.queue_id, t.started_at, t.runs, t.credits, t.account_id, t.cycle, t.flags, t.parent_id, t.max_retries,
    t.limit_id, t.state AS was, t.worker_id, t.token AS held, t.cancel > 0 AND o.status <> 4 AS cancelled, o.*
  FROM t JOIN o AS o(task_id, token, state, status, delay_s, counts, dead, kind, error, result, progress, crashed,
    refund) ON o.task_id = t.id
), l AS MATERIALIZED (
  SELECT id, queue_id, started_at, runs, credits, account_id, cycle, flags, parent_id, max_retries,
    limit_id, token, delay_s, error, result, counts, progress, crashed, cancelled,
    greatest(0, least(coalesce(refund, credits), credits)) AS refund,
    CASE WHEN cancelled THEN 6 ELSE state END AS state,
    CASE WHEN cancelled THEN 9 ELSE status END AS status,
    CASE WHEN cancelled THEN 4 ELSE kind END AS kind,
    CASE WHEN dead AND NOT cancelled THEN %(dead_queue)s::int ELSE queue_id END AS to_queue
  FROM j WHERE was = 2 AND worker_id = %(worker)s AND held = token ORDER BY id
), u AS (
  UPDATE task t SET state = l.state, status = l.status, worker_id = NULL, queue_id = l.to_queue,
    origin_id = CASE WHEN l.to_queue <> l.queue_id THEN l.queue_id ELSE t.origin_id END,
    retried = t.retried + (l.state = 4 AND l.counts)::int,
    crashes = t.crashes + l.crashed,
    progress = CASE WHEN l.status = 4 THEN 100 ELSE coalesce(l.progress, t.progress) END,
    run_at = CASE WHEN l.state IN (3, 4) THEN clock_timestamp() + l.delay_s * interval '1 second' END,
    finished_at = CASE WHEN l.state = 6 THEN clock_timestamp() END,
    expires_at = CASE WHEN l.state = 6 THEN clock_timestamp() + t.retention_s * interval '1 second'
                      WHEN l.state = 5 THEN clock_timestamp() + %(dead_retention_s)s * interval '1 second' END
  FROM l WHERE t.id = l.id
), r AS (
  INSERT INTO task_run (task_id, token, run, kind, worker_id, started_at, ended_at, error, result)
  SELECT id, token, runs, kind, %(worker)s, started_at, clock_timestamp(), error, result::jsonb FROM l
  WHERE error IS NOT NULL OR result IS NOT NULL
), f AS (
  INSERT INTO credit_entry (account_id, kind, amount, task_id, cycle, reason, actor)
  SELECT account_id, 3, refund, id, cycle, CASE WHEN refund < credits THEN 'partly billed'
    WHEN status = 9 THEN 'cancelled' ELSE 'failed' END, 'system' FROM l
  WHERE refund > 0 AND status IN (5, 9) AND state IN (5, 6) ORDER BY id
  ON CONFLICT (task_id, cycle) WHERE kind = 3 DO NOTHING
  RETURNING task_id, account_id, amount
), s AS (
  INSERT INTO stat_delta (queue_id, metric, n)
  SELECT q, m, sum(k) FROM (
    SELECT queue_id AS q, 2 AS m, -1 AS k FROM l
    UNION ALL SELECT to_queue, state, 1 FROM l
    UNION ALL SELECT queue_id, 10, 1 FROM l WHERE kind IN (1, 2, 3, 4, 6)
    UNION ALL SELECT queue_id, 11, 1 FROM l WHERE kind IN (2, 3, 6)
    UNION ALL SELECT queue_id, 15, 1 FROM l WHERE crashed > 0
    UNION ALL SELECT l.queue_id, 13, 1 FROM f JOIN l ON l.id = f.task_id
    UNION ALL SELECT l.queue_id, 14, f.amount FROM f JOIN l ON l.id = f.task_id) d GROUP BY 1, 2
)
SELECT l.id::text, l.queue_id, l.state, l.status, l.flags, l.parent_id::text, f.account_id, f.amount, l.limit_id
FROM l LEFT JOIN f ON f.task_id = l.id
