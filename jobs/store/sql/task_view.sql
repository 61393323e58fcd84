-- What one reads of a task; a dead letter finished with its last failure. The caller adds WHERE (and ORDER BY); side rows come by index, nothing is locked.
SELECT t.id, t.queue_id, t.origin_id, t.state, t.status, t.progress, t.retried, t.max_retries, t.runs, t.crashes,
  t.credits, CASE WHEN t.run_at IS NOT NULL THEN least(t.run_at, p.poll_at) END AS run_at, t.started_at,
  CASE WHEN t.state = 5 AND t.status = 5 THEN e.ended_at ELSE t.finished_at END AS finished_at, t.timeout_ms, t.deadline, t.ticket,
  i.type, i.user_id, i.business_id, i.trace_id, i.custom_id, i.platform, i.tags, i.payload::text AS payload,
  i.options, i.created_at, w.name AS worker, p.external_id, p.raw_status,
  e.error, r.result::text AS result, coalesce(f.refunded, 0)::bigint AS refunded, c.reason,
  d.runs AS redriven_runs, d.at AS redriven_at, s.total, s.done, s.failed,
  m.id AS parent, m.custom_id AS parent_name,
  a.listed AS after, b.listed AS awaited_by
FROM task t
JOIN task_info i ON i.id = t.id
LEFT JOIN task_info m ON m.id = t.parent_id
LEFT JOIN worker w ON w.id = t.worker_id
LEFT JOIN platform_task p ON p.task_id = t.id
LEFT JOIN shard_count s ON s.task_id = t.id
LEFT JOIN LATERAL (SELECT left(error, 4000) AS error, x.ended_at FROM task_run x
  WHERE x.task_id = t.id AND x.error IS NOT NULL ORDER BY x.id DESC LIMIT 1) e ON true
LEFT JOIN LATERAL (SELECT x.result FROM task_run x
  WHERE x.task_id = t.id AND x.result IS NOT NULL ORDER BY x.id DESC LIMIT 1) r ON t.status = 4
LEFT JOIN LATERAL (SELECT sum(amount) AS refunded FROM credit_entry x
  WHERE x.task_id = t.id AND x.kind = 3 AND x.cycle = t.cycle) f ON t.credits > 0
LEFT JOIN LATERAL (SELECT x.detail ->> 'reason' AS reason FROM event x
  WHERE x.task_id = t.id AND x.kind = 'cancel' ORDER BY x.id DESC LIMIT 1) c ON t.status = 9
LEFT JOIN LATERAL (SELECT (x.detail ->> 'runs')::int AS runs, x.at FROM event x
  WHERE x.task_id = t.id AND x.kind = 'redrive' ORDER BY x.id DESC LIMIT 1) d ON t.runs > 0
LEFT JOIN LATERAL (SELECT json_agg(json_build_array(x.id, x.custom_id, x.state, x.status))::text AS listed FROM (
  SELECT p.id, pi.custom_id, p.state, p.status FROM (SELECT y.id, y.predecessor_id FROM task_after y
    WHERE y.task_id = t.id AND t.state = 7 LIMIT 1000) f
  JOIN task p ON p.id = f.predecessor_id JOIN task_info pi ON pi.id = p.id ORDER BY p.state = 5 DESC, f.id LIMIT 20) x) a ON t.state = 7
LEFT JOIN LATERAL (SELECT json_agg(json_build_array(x.id, x.custom_id, x.state, x.status))::text AS listed FROM (
  SELECT p.id, pi.custom_id, p.state, p.status FROM task_after f
  JOIN task p ON p.id = f.task_id JOIN task_info pi ON pi.id = p.id
  WHERE f.predecessor_id = t.id AND t.flags & 8 > 0 AND t.state <> 6 ORDER BY f.task_id LIMIT 20) x) b ON t.flags & 8 > 0 AND t.state <> 6
