-- What tenants have there now, by the counters: (tenant_id, queues, paused ones, pending, active, waiting otherwise).
WITH own AS (
  SELECT id, tenant_id, paused OR tenant_paused AS paused FROM queue
  WHERE tenant_id = ANY(%(ids)s::int[])
), counted AS (
  SELECT queue_id, metric, sum(n) AS n FROM (
    SELECT queue_id, metric, n FROM queue_stat UNION ALL SELECT queue_id, metric, n FROM stat_delta) x
  WHERE queue_id IN (SELECT id FROM own) AND metric = ANY(%(states)s::int[]) GROUP BY queue_id, metric
), by_queue AS (
  SELECT queue_id,
    sum(n) FILTER (WHERE metric = %(pending)s) AS pending,
    sum(n) FILTER (WHERE metric = %(active)s) AS active,
    sum(n) FILTER (WHERE metric NOT IN (%(pending)s, %(active)s)) AS waiting
  FROM counted GROUP BY queue_id
)
SELECT tenant_id, count(*), count(*) FILTER (WHERE paused),
  greatest(0, coalesce(sum(pending), 0))::bigint,
  greatest(0, coalesce(sum(active), 0))::bigint,
  greatest(0, coalesce(sum(waiting), 0))::bigint
FROM own LEFT JOIN by_queue ON queue_id = id GROUP BY tenant_id
