-- Fold appended deltas into the counters and the day's history; their only writer. A counter at its end stays there.
WITH d AS (
  DELETE FROM stat_delta WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM stat_delta LIMIT 20000 FOR UPDATE SKIP LOCKED)) RETURNING queue_id, metric, n
), a AS (SELECT queue_id, metric, sum(n) AS n FROM d GROUP BY 1, 2 ORDER BY 1, 2),
h AS (
  INSERT INTO queue_day (queue_id, day, processed, failed)
  SELECT queue_id, (clock_timestamp() AT TIME ZONE 'UTC')::date, coalesce(sum(n) FILTER (WHERE metric = 10), 0),
    coalesce(sum(n) FILTER (WHERE metric = 11), 0)
  FROM a WHERE metric IN (10, 11) GROUP BY queue_id ORDER BY queue_id
  ON CONFLICT (day, queue_id) DO UPDATE SET processed = queue_day.processed + excluded.processed,
    failed = queue_day.failed + excluded.failed
)
INSERT INTO queue_stat (queue_id, metric, n, as_of) SELECT queue_id, metric, n, clock_timestamp() FROM a
ON CONFLICT (queue_id, metric) DO UPDATE SET
  n = least(queue_stat.n::numeric + excluded.n, 9223372036854775807)::bigint, as_of = excluded.as_of
RETURNING queue_id, metric, n
