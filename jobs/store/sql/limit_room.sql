-- Of these limits, those in whose line somebody stands: how many may go now, at most so many, and, where there is a
-- place, the seconds until the rate lets the next one go. A platform task keeps its place between its polls.
-- After a rest half a second's worth may go at once, at least one. A limit that was forgotten holds nobody up.
SELECT n.id, greatest(0, least(%(most)s, l.concurrency - h.n, b.tokens))::int,
  CASE WHEN l.starts IS NULL OR l.concurrency <= h.n THEN NULL ELSE b.wait_s END::float8
FROM unnest(%(limits)s::bigint[]) AS n(id)
LEFT JOIN task_limit l ON l.id = n.id
CROSS JOIN LATERAL (
  SELECT count(*) AS n FROM (
    SELECT FROM task t WHERE t.limit_id = n.id
      AND (t.state IN (1, 2) OR (t.state IN (3, 4) AND t.runs > 0 AND t.flags & 2 > 0))
    LIMIT coalesce(l.concurrency, 0)) x
) h
CROSS JOIN LATERAL (
  SELECT floor(rested_s / step_s + 1e-6) AS tokens, greatest(0, step_s - rested_s) AS wait_s FROM (
    SELECT l.per_s / l.starts::float8 AS step_s, least(
      -- a time far ahead was written by a clock that has been set back
      CASE WHEN l.next_at > clock_timestamp() + interval '1 s' THEN 1e9
        ELSE extract(epoch FROM clock_timestamp() - l.next_at)::float8 END,
      greatest(0.5, l.per_s / l.starts::float8)) AS rested_s) x
) b
CROSS JOIN LATERAL (  -- the LIMIT keeps the planner from reading all lines into a hash
  SELECT FROM task t WHERE t.limit_id = n.id AND t.state = 7 AND t.flags & 128 > 0 LIMIT 1
) q
