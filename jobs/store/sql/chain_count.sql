-- Predecessors that succeeded are counted off, a bounded number of links; returns the waiting tasks and how many each
-- still waits for. The row lock on task_wait makes the last of several concurrent ends see 0.
WITH x AS MATERIALIZED (
  SELECT id FROM task_after WHERE predecessor_id = ANY(%(ids)s::uuid[]) ORDER BY id LIMIT %(limit)s FOR UPDATE
), d AS (DELETE FROM task_after a USING x WHERE a.id = x.id RETURNING a.task_id),
n AS MATERIALIZED (
  SELECT w.task_id, c.n FROM task_wait w
  JOIN (SELECT task_id, count(*) AS n FROM d GROUP BY 1) c ON c.task_id = w.task_id
  ORDER BY w.task_id FOR NO KEY UPDATE OF w
)
UPDATE task_wait w SET remaining = w.remaining - n.n FROM n WHERE w.task_id = n.task_id
RETURNING w.task_id::text, w.remaining
