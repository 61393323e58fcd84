-- Members of a group in the order they joined, locked; those that somebody else holds are left for the next pass.
WITH l AS MATERIALIZED (
  SELECT id, queue_id, tenant_id, ord FROM task
  WHERE parent_id = %(group)s AND state = 7 AND flags & 16 > 0
  ORDER BY abs(ord), id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
)
SELECT l.id, i.payload::text, l.queue_id, i.options::text, l.tenant_id
FROM l JOIN task_info i ON i.id = l.id ORDER BY abs(l.ord), l.id
