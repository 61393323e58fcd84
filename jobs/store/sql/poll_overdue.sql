-- Tasks that nobody asks about (no worker serves their queue, or it is paused): they get a ticket like all others.
-- The task is made due first and by itself; its next settle says anew how it is polled. What somebody holds is left for later.
WITH l AS MATERIALIZED (
  SELECT t.id, t.state FROM platform_task p JOIN task t ON t.id = p.task_id
  WHERE p.poll_at < (SELECT clock_timestamp()) - %(for_s)s * interval '1 second'
  ORDER BY p.poll_at LIMIT %(limit)s FOR NO KEY UPDATE OF t SKIP LOCKED
), u AS (
  UPDATE task t SET run_at = clock_timestamp() FROM l
  WHERE t.id = l.id AND l.state IN (3, 4) AND t.run_at > clock_timestamp() RETURNING t.id
)
SELECT id::text FROM l
