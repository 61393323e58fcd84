-- Pending rows of one queue without a valid ticket, in their order; stamps them. Push after COMMIT.
WITH l AS MATERIALIZED (
  SELECT id FROM task WHERE state = 1 AND queue_id = %(queue)s AND ticket <> %(epoch)s
  ORDER BY ord LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE task t SET ticket = %(epoch)s FROM l WHERE t.id = l.id RETURNING t.id::text, t.lane, t.ord
