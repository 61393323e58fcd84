-- Keep a reading of the counters for this slot of five seconds unless somebody has, and forget those beyond the hour.
WITH t AS (SELECT clock_timestamp() AS at), old AS (
  DELETE FROM rate_reading WHERE slot < (SELECT floor(extract(epoch FROM at) / 5) - 740 FROM t)
)
INSERT INTO rate_reading (slot, at, processed, failed, submitted)
SELECT floor(extract(epoch FROM t.at) / 5), t.at, c.* FROM t, (
  SELECT least(coalesce(sum(n) FILTER (WHERE metric = 10), 0), 9223372036854775807)::bigint,
    least(coalesce(sum(n) FILTER (WHERE metric = 11), 0), 9223372036854775807)::bigint,
    least(coalesce(sum(n) FILTER (WHERE metric = 12), 0), 9223372036854775807)::bigint
  FROM (SELECT metric, n FROM queue_stat UNION ALL SELECT metric, n FROM stat_delta) x WHERE metric IN (10, 11, 12)) c
ON CONFLICT (slot) DO NOTHING RETURNING 1
