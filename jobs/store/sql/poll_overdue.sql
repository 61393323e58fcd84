-- Tasks that nobody asks about (no worker serves their queue, or it is paused): they get a ticket like all others.
-- The task is made due first and by itself; its next settle says anew how it is polled.
WITH l AS MATERIALIZED (
  SELECT task_id FROM platform_task
  WHERE poll_at < (SELECT clock_timestamp()) - %(for_s)s * interval '1 second' ORDER BY poll_at LIMIT %(limit)s
), u AS (
  UPDATE task t SET run_at = clock_timestamp() FROM l
  WHERE t.id = l.task_id AND t.state IN (3, 4) AND t.run_at > clock_timestamp() RETURNING t.id
)
SELECT task_id::text FROM l
