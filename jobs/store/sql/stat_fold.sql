-- Fold appended deltas into the counters; their only writer.
WITH d AS (
  DELETE FROM stat_delta WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM stat_delta LIMIT 20000 FOR UPDATE SKIP LOCKED)) RETURNING queue_id, metric, n
), a AS (SELECT queue_id, metric, sum(n) AS n FROM d GROUP BY 1, 2 ORDER BY 1, 2)
INSERT INTO queue_stat (queue_id, metric, n, as_of) SELECT queue_id, metric, n, clock_timestamp() FROM a
ON CONFLICT (queue_id, metric) DO UPDATE SET n = queue_stat.n + excluded.n, as_of = excluded.as_of
RETURNING queue_id, metric, n
