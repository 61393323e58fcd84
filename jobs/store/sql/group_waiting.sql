-- Groups with waiting members: id, first member, size, seconds since the oldest and the newest joined.
SELECT parent_id, (array_agg(id ORDER BY id))[1], count(*),
  (extract(epoch FROM clock_timestamp()) - min(abs(ord)) / 1e6)::float8,
  (extract(epoch FROM clock_timestamp()) - max(abs(ord)) / 1e6)::float8
FROM task WHERE state = 7 AND flags & 16 > 0 AND parent_id IS NOT NULL
GROUP BY parent_id ORDER BY min(abs(ord)) LIMIT %(limit)s
