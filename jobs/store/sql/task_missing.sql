-- Why a claim did not return these ids: one row per id that still exists, pending or not.
SELECT t.id::text, t.state, q.paused OR q.tenant_paused, t.queue_id, t.lane
FROM task t JOIN queue q ON q.id = t.queue_id WHERE t.id = ANY(%(ids)s::uuid[])
