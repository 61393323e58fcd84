-- One chunk of a plan's frozen set: tasks of one state beyond the last id, each with what will be done or why not.
-- What a redrive charges is what was refunded. A task made after the plan is never in it; the steps of plans are left alone.
WITH found AS MATERIALIZED (
  SELECT t.id, t.state, t.status, t.queue_id, t.credits, t.cycle, i.user_id, i.type = 'plan:step' AS own
  FROM task t JOIN task_info i ON i.id = t.id
  WHERE /*where*/ AND t.id > %(last)s::uuid AND i.created_at <= %(made_at)s
  ORDER BY t.id LIMIT %(limit)s
), rule AS (
  SELECT * FROM unnest(%(states)s::smallint[], %(statuses)s::smallint[], %(skips)s::text[], %(signs)s::int[])
    AS r(state, status, skip, sign)
), kept AS (
  INSERT INTO plan_item (plan_id, task_id, was, queue_id, user_id, credits, state, tries, retried, reason)
  SELECT %(plan)s, f.id, f.state, f.queue_id, f.user_id,
    CASE WHEN f.own THEN 0
      WHEN r.sign < 0 AND f.credits > 0 THEN -coalesce((SELECT e.amount FROM credit_entry e
        WHERE e.task_id = f.id AND e.cycle = f.cycle AND e.kind = 3), 0)
      ELSE r.sign * f.credits END,
    CASE WHEN f.own OR r.skip <> '' THEN 2 ELSE 0 END, 0, 0,
    CASE WHEN f.own THEN 'plan' ELSE r.skip END
  FROM found f JOIN rule r ON r.state = f.state AND r.status = f.status
  ON CONFLICT (plan_id, task_id) DO NOTHING
)
SELECT (SELECT count(*) FROM found), (SELECT id::text FROM found ORDER BY found.id DESC LIMIT 1)
