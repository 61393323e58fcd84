-- One of those who saw a stale Redis raises the epoch; the others find it raised.
UPDATE redis_shard SET epoch = epoch + 1, run_id = %(run_id)s WHERE name = 'default' AND epoch = %(seen)s RETURNING epoch
