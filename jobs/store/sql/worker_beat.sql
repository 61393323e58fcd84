-- One heartbeat: alive? what changed? which of my tasks are to be cancelled? 0 rows: I was declared dead.
UPDATE worker w SET beat_at = clock_timestamp(), stats = w.stats || %(stats)s::jsonb
FROM control c
WHERE w.id = %(worker)s AND w.dead_at IS NULL AND c.id = 1
RETURNING c.version, c.stopped, w.command, (w.stats -> 'concurrency_wanted')::text,
  ARRAY(SELECT t.id::text FROM task t WHERE t.state = 2 AND t.worker_id = w.id AND t.cancel > 0)
