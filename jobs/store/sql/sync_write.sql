-- A piece of a copied table and the place after it, unless somebody else has moved the place: (moved, rows changed).
WITH p AS (
  UPDATE sync_position SET position = %(position)s::jsonb, version = version + 1, caught_up = %(caught_up)s,
    rows = rows + cardinality(%(keys)s::text[]), moved_at = clock_timestamp()
  WHERE name = %(name)s AND version = %(version)s RETURNING name
), n AS (
  SELECT DISTINCT ON (key) key, mark, object::jsonb AS data
  FROM unnest(%(keys)s::text[], %(marks)s::text[], %(objects)s::text[]) WITH ORDINALITY AS x(key, mark, object, nr)
  ORDER BY key, nr DESC
), w AS (
  INSERT INTO synced_row (source, key, watermark, data)
  SELECT p.name, n.key, n.mark, n.data FROM p, n
  ON CONFLICT (source, key) DO UPDATE
    SET watermark = excluded.watermark, data = excluded.data, synced_at = clock_timestamp()
    WHERE (synced_row.watermark, synced_row.data) IS DISTINCT FROM (excluded.watermark, excluded.data)
  RETURNING 1
)
SELECT (SELECT count(*) FROM p)::int, (SELECT count(*) FROM w)::int
