-- Declare workers dead whose beat is older than the lease. Final. Only after a lease of on-time sweeps.
UPDATE worker SET dead_at = clock_timestamp()
WHERE dead_at IS NULL AND beat_at < (SELECT clock_timestamp()) - %(lease_s)s * interval '1 second'
RETURNING id, name
