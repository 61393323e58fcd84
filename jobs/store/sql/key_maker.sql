-- Whose hand is behind an actor: up from a key to who made it; a key made on the command line is given to somebody.
WITH RECURSIVE chain AS (
  SELECT %(actor)s::text AS actor, 0 AS n
  UNION ALL
  SELECT k.created_by, n + 1 FROM chain c JOIN api_key k
    ON c.actor LIKE 'key:%%' AND k.key_id = substring(c.actor FROM '\(([0-9a-f]+)\)$')
  WHERE n < 50 AND k.created_by <> '' AND k.created_by NOT LIKE 'cli:%%'
)
SELECT actor FROM chain ORDER BY n DESC LIMIT 1
