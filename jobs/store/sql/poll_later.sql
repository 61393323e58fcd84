-- Polls that are put off, of tasks that are as they were when they were asked about. Whoever holds one settles or takes it.
WITH l AS MATERIALIZED (
  SELECT p.task_id, x.delay_s, x.polls
  FROM unnest(%(ids)s::uuid[], %(tokens)s::int[], %(delays_s)s::float8[], %(polls)s::int[]) AS x(id, token, delay_s, polls)
  JOIN platform_task p ON p.task_id = x.id JOIN task t ON t.id = x.id AND t.token = x.token
  WHERE p.poll_at IS NOT NULL FOR NO KEY UPDATE OF p SKIP LOCKED
)
UPDATE platform_task p SET poll_at = clock_timestamp() + l.delay_s * interval '1 second', polls = l.polls
FROM l WHERE p.task_id = l.task_id
