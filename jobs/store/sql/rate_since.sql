-- For each span of seconds the first reading within it, and how long ago that was.
SELECT s.span, extract(epoch FROM t.at - r.at)::float8, r.processed, r.failed, r.submitted
FROM (SELECT clock_timestamp() AS at) t, unnest(%(spans)s::float8[]) s(span)
CROSS JOIN LATERAL (SELECT * FROM rate_reading WHERE slot >= floor((extract(epoch FROM t.at) - s.span) / 5)
  AND rate_reading.at >= t.at - s.span * interval '1 second' ORDER BY slot LIMIT 1) r
