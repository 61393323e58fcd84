-- What became of the tasks that a plan ran last: (looked at, ended well, failed again).
-- A task that somebody deleted or cancelled meanwhile says nothing against going on.
WITH i AS MATERIALIZED (
  SELECT task_id, retried FROM plan_item
  WHERE plan_id = %(plan)s AND state = 1 AND task_id <= %(to)s::uuid
    AND (%(from)s::uuid IS NULL OR task_id > %(from)s::uuid)
  ORDER BY task_id DESC LIMIT %(limit)s
)
SELECT count(*), count(*) FILTER (WHERE t.id IS NULL OR t.status IN (4, 9)),
  count(*) FILTER (WHERE t.status = 5 OR (t.state <> 6 AND t.retried > i.retried))
FROM i LEFT JOIN task t ON t.id = i.task_id
