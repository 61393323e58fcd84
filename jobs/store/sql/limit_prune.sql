-- Keys that nobody has named for a month and of which nobody runs or stands in line.
DELETE FROM task_limit WHERE id = ANY(ARRAY(
  SELECT l.id FROM task_limit l WHERE l.used_at < (SELECT clock_timestamp()) - interval '30 days'
    AND NOT EXISTS (SELECT FROM task t WHERE t.limit_id = l.id AND t.state = 7 AND t.flags & 128 > 0)
    AND NOT EXISTS (SELECT FROM task t WHERE t.limit_id = l.id
      AND (t.state IN (1, 2) OR (t.state IN (3, 4) AND t.runs > 0 AND t.flags & 2 > 0)))
  ORDER BY l.used_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED)) RETURNING id
