-- Limits in whose line somebody stands, after one of them; a step of the index per limit, however long the lines are.
WITH RECURSIVE k AS (
  (SELECT limit_id FROM task WHERE state = 7 AND flags & 128 > 0 AND limit_id > %(after)s ORDER BY limit_id LIMIT 1)
  UNION ALL
  SELECT (SELECT t.limit_id FROM task t WHERE t.state = 7 AND t.flags & 128 > 0 AND t.limit_id > k.limit_id
    ORDER BY t.limit_id LIMIT 1) FROM k WHERE k.limit_id IS NOT NULL
)
SELECT limit_id FROM k WHERE limit_id IS NOT NULL LIMIT %(limit)s
