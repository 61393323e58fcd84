-- Polls that are due, the longest due first, with what the answer will be compared to. The caller moves `poll_at` on in this transaction.
-- Run with enable_sort and enable_bitmapscan off; `floor` skips dead index entries at the head. The task is only read: a claim fences what is made of the answer.
SELECT p.task_id::text, t.token, t.queue_id, t.credits, t.flags, t.runs, t.retried, t.max_retries, t.crashes, t.status,
  t.tenant_id, t.state, p.platform_id, p.external_id, p.raw_status, p.polls, p.unknowns, p.contact_errors,
  extract(epoch FROM p.expires_at - clock_timestamp())::float8, t.cycle, p.cancel_requested_at IS NOT NULL,
  p.urls::text, t.progress, p.poll_at, p.polled_at
FROM platform_task p JOIN task t ON t.id = p.task_id JOIN queue q ON q.id = t.queue_id
WHERE p.poll_at <= (SELECT clock_timestamp()) AND p.poll_at > %(floor)s
  AND NOT q.paused AND NOT q.tenant_paused
  AND (q.id = ANY(%(queues)s::int[]) OR q.base_id = ANY(%(queues)s::int[]))
ORDER BY p.poll_at LIMIT %(limit)s FOR NO KEY UPDATE OF p SKIP LOCKED
