-- Pending rows of some queues without a valid ticket, in each queue's order; stamps them. Push after COMMIT.
WITH l AS MATERIALIZED (
  SELECT x.id FROM unnest(%(queues)s::int[], %(limits)s::int[]) q(id, most), LATERAL (
    SELECT t.id FROM task t WHERE t.state = 1 AND t.queue_id = q.id AND t.ticket <> %(epoch)s
    ORDER BY t.ord LIMIT q.most FOR NO KEY UPDATE SKIP LOCKED) x
)
UPDATE task t SET ticket = %(epoch)s FROM l WHERE t.id = l.id RETURNING t.id::text, t.queue_id, t.lane, t.ord
