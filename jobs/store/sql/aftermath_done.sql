-- Notes whose successors, members and shards are all worked off.
DELETE FROM task_aftermath n WHERE n.id = ANY(%(ids)s::bigint[])
  AND NOT EXISTS (SELECT 1 FROM task_after a WHERE a.predecessor_id = n.task_id)
  AND NOT EXISTS (SELECT 1 FROM task t WHERE t.parent_id = n.task_id AND n.flags & 96 > 0 AND t.state IN (1, 3, 4, 7))
RETURNING n.id
