-- Give claimed tasks back to the head of their queue: no retry counted, the token grows. Not what is to be cancelled.
-- What had started keeps an event of it.
WITH t AS MATERIALIZED (
  SELECT id, queue_id, state, worker_id, token, cancel FROM task WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR NO KEY UPDATE
), j AS MATERIALIZED (
  SELECT t.*, o.mine FROM t JOIN unnest(%(ids)s::uuid[], %(tokens)s::int[]) o(id, mine) ON o.id = t.id
), l AS MATERIALIZED (
  SELECT id, queue_id FROM j WHERE state = 2 AND worker_id = %(worker)s AND token = mine AND cancel = 0 ORDER BY id
), u AS (
  UPDATE task t SET state = 1, worker_id = NULL, token = t.token + 1, ticket = %(epoch)s,
    runs = t.runs - %(unstarted)s
  FROM l WHERE t.id = l.id RETURNING t.id, t.queue_id, t.lane, t.ord, t.runs
), e AS (
  INSERT INTO event (task_id, kind, actor, detail)
  SELECT u.id, 'handed_back', 'system', jsonb_build_object('worker', w.name, 'attempt', u.runs)
  FROM u JOIN worker w ON w.id = %(worker)s WHERE %(unstarted)s = 0
), s AS (
  INSERT INTO stat_delta (queue_id, metric, n)
  SELECT queue_id, m, sum(k) FROM u, (VALUES (2, -1), (1, 1)) v(m, k) GROUP BY 1, 2
)
SELECT id::text, queue_id, lane FROM u ORDER BY ord
