-- Write down what became of one item, and count it on its plan, in the transaction that changed the task.
-- `rate` is paced here: each attempt moves the moment of the next one.
WITH i AS (
  UPDATE plan_item SET state = %(state)s, reason = %(reason)s, error = %(error)s, retried = %(retried)s, at = clock_timestamp()
  WHERE plan_id = %(plan)s AND task_id = %(task)s AND state = 0 RETURNING task_id
)
UPDATE plan p SET done = done + (%(state)s = 1)::int, skipped = skipped + (%(state)s = 2)::int,
  failed = failed + (%(state)s = 3)::int, refunded = refunded + %(refunded)s,
  last_id = CASE WHEN %(state)s = 1 THEN greatest(p.last_id, i.task_id) ELSE p.last_id END,
  next_at = CASE WHEN p.rate IS NULL OR %(state)s = 2 THEN p.next_at
    ELSE greatest(p.next_at, clock_timestamp()) + interval '1 minute' / p.rate END
FROM i WHERE p.id = %(plan)s
RETURNING p.id
