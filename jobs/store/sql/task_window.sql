-- The heads of some queues as the rows say it, with the epoch of each ticket (0: none out). No locks.
SELECT q.id, x.id::text, x.lane, x.ticket
FROM unnest(%(queues)s::int[], %(limits)s::int[]) q(id, most), LATERAL (
  SELECT t.id, t.lane, t.ticket FROM task t WHERE t.state = 1 AND t.queue_id = q.id ORDER BY t.ord LIMIT q.most) x
