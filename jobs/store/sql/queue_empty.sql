-- The next waiting tasks of a queue that nobody is busy with, locked for the rest of the transaction.
SELECT id::text, state FROM task
WHERE queue_id = %(queue)s AND state = ANY(%(states)s::smallint[])
ORDER BY id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
