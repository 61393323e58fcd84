-- The self-audit: what the rows say this worker runs.
SELECT id::text, token FROM task WHERE state = 2 AND worker_id = %(worker)s
