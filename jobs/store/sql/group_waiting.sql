-- Groups with waiting members, a bounded number from a group on: id, first member, size (counted up to a bound),
-- seconds since the oldest and the newest joined. Each group costs a few steps down one index, however large it is.
WITH RECURSIVE g AS (
  (SELECT parent_id, 1 AS nr FROM task
   WHERE state = 7 AND flags & 16 > 0 AND parent_id > %(after)s::uuid ORDER BY parent_id LIMIT 1)
  UNION ALL
  SELECT x.parent_id, g.nr + 1 FROM g, LATERAL (SELECT parent_id FROM task
    WHERE state = 7 AND flags & 16 > 0 AND parent_id > g.parent_id ORDER BY parent_id LIMIT 1) x
  WHERE g.nr < %(limit)s
)
SELECT g.parent_id, f.id, c.n,
  (extract(epoch FROM clock_timestamp()) - f.us / 1e6)::float8,
  (extract(epoch FROM clock_timestamp()) - l.us / 1e6)::float8
FROM g
CROSS JOIN LATERAL (SELECT id, abs(ord) AS us FROM task WHERE state = 7 AND flags & 16 > 0
  AND parent_id = g.parent_id ORDER BY abs(ord), id LIMIT 1) f
CROSS JOIN LATERAL (SELECT abs(ord) AS us FROM task WHERE state = 7 AND flags & 16 > 0
  AND parent_id = g.parent_id ORDER BY abs(ord) DESC, id DESC LIMIT 1) l
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT 1 FROM task WHERE state = 7 AND flags & 16 > 0
  AND parent_id = g.parent_id LIMIT %(most)s) x) c
ORDER BY g.nr
