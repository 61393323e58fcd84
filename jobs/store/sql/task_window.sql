-- The head of a queue as the rows say it: ids that should have a ticket out. No locks.
SELECT id::text, lane FROM (
  SELECT id, lane, ticket FROM task WHERE state = 1 AND queue_id = %(queue)s ORDER BY ord LIMIT %(limit)s
) x WHERE ticket = %(epoch)s
