-- Tasks that nobody runs and whose deadline has passed, dead letters left out.
SELECT id::text FROM task
WHERE deadline <= (SELECT clock_timestamp()) AND deadline IS NOT NULL AND state <> 6 AND state <> 2 AND status <> 5
ORDER BY deadline LIMIT 200 FOR NO KEY UPDATE SKIP LOCKED
