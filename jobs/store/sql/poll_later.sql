-- Polls that are put off (not asked at all: with the time of the last one that was), of tasks that are as they were when they were asked about. Whoever holds one settles or takes it.
WITH l AS MATERIALIZED (
  SELECT p.task_id, x.delay_s, x.polls, CASE WHEN x.asked THEN p.polled_at ELSE x.polled_at END AS polled_at
  FROM unnest(%(ids)s::uuid[], %(tokens)s::int[], %(delays_s)s::float8[], %(polls)s::int[], %(asked)s::boolean[],
    %(polled_at)s::timestamptz[]) AS x(id, token, delay_s, polls, asked, polled_at)
  JOIN platform_task p ON p.task_id = x.id JOIN task t ON t.id = x.id AND t.token = x.token
  WHERE p.poll_at IS NOT NULL FOR NO KEY UPDATE OF p SKIP LOCKED
)
UPDATE platform_task p SET poll_at = clock_timestamp() + l.delay_s * interval '1 second', polls = l.polls,
  polled_at = l.polled_at
FROM l WHERE p.task_id = l.task_id
