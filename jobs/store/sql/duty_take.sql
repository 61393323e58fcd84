-- Take or renew leased duties; returns the names this holder has now.
WITH w AS (
  INSERT INTO duty (name, holder, until)
  SELECT n, %(holder)s, clock_timestamp() + %(lease_s)s * interval '1 second' FROM unnest(%(names)s::text[]) n ORDER BY n
  ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
  WHERE duty.until < clock_timestamp() OR duty.holder = excluded.holder
  RETURNING name
) SELECT name FROM w
