-- The limits of these keys, made where there are none. Of keys in `given` the limit last given holds,
-- another new key is one at a time. A row is only written when it changes, or once an hour to say that it is in use: its lock is what
-- all tasks of the key go through, and the caller's transaction may be long.
WITH n AS (
  SELECT * FROM unnest(%(keys)s::text[], %(concurrencies)s::int[], %(starts)s::int[], %(periods_s)s::int[])
    AS n(key, concurrency, starts, per_s)
), o AS MATERIALIZED (
  SELECT n.*, l.id FROM n LEFT JOIN task_limit l ON l.tenant_id = %(tenant)s AND l.key = n.key
    AND l.used_at > clock_timestamp() - interval '1 hour'
    AND (n.key <> ALL(%(given)s::text[]) OR (l.concurrency, l.starts, l.per_s) IS NOT DISTINCT FROM (n.concurrency, n.starts, n.per_s))
), u AS (
  INSERT INTO task_limit AS l (tenant_id, key, concurrency, starts, per_s, next_at, used_at)
  SELECT %(tenant)s, key, concurrency, starts, per_s, to_timestamp(0), clock_timestamp() FROM o WHERE id IS NULL
  ORDER BY key
  ON CONFLICT (tenant_id, key) DO UPDATE SET used_at = excluded.used_at,
    concurrency = CASE WHEN excluded.key = ANY(%(given)s::text[]) THEN excluded.concurrency ELSE l.concurrency END,
    starts = CASE WHEN excluded.key = ANY(%(given)s::text[]) THEN excluded.starts ELSE l.starts END,
    per_s = CASE WHEN excluded.key = ANY(%(given)s::text[]) THEN excluded.per_s ELSE l.per_s END
  RETURNING l.id, l.key
)
SELECT key, id FROM o WHERE id IS NOT NULL UNION ALL SELECT key, id FROM u
