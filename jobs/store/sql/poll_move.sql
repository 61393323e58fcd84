-- When to ask next; null: not without a claim. `asked`: the request leaves now.
UPDATE platform_task p SET poll_at = clock_timestamp() + x.delay_s * interval '1 second', polls = x.polls,
  polled_at = CASE WHEN x.asked THEN clock_timestamp() ELSE p.polled_at END
FROM unnest(%(ids)s::uuid[], %(delays_s)s::float8[], %(polls)s::int[], %(asked)s::boolean[])
  AS x(id, delay_s, polls, asked)
WHERE p.task_id = x.id AND p.poll_at IS NOT NULL
