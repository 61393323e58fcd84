-- One of those who saw a stale Redis raises the epoch; the others read what it became.
WITH u AS (
  UPDATE redis_shard SET epoch = epoch + 1, run_id = %(run_id)s WHERE name = 'default' AND epoch = %(seen)s RETURNING epoch
) SELECT epoch FROM u UNION ALL SELECT epoch FROM redis_shard WHERE name = 'default' AND NOT EXISTS (SELECT 1 FROM u)
