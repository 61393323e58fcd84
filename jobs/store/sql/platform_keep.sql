-- Store what settled runs learnt; null means "nothing new". In the settle's transaction.
UPDATE platform_task p SET external_id = coalesce(x.external_id, p.external_id),
  raw_status = coalesce(x.raw_status, p.raw_status), polls = x.polls, unknowns = x.unknowns,
  contact_errors = x.contact_errors, urls = coalesce(x.urls, p.urls),
  silent_since = CASE WHEN x.understood IS NULL THEN p.silent_since
                      WHEN NOT x.understood THEN coalesce(p.silent_since, clock_timestamp()) END,
  answer = coalesce(x.answer, p.answer), cancel_answer = coalesce(x.cancel_answer, p.cancel_answer),
  polled_at = CASE WHEN x.understood IS NULL OR coalesce(x.external_id, p.external_id) IS NULL THEN p.polled_at
                   ELSE clock_timestamp() END,
  poll_at = clock_timestamp() + x.poll_s * interval '1 second',
  submitted_at = CASE WHEN p.external_id IS NULL AND x.external_id IS NOT NULL THEN clock_timestamp()
                      ELSE p.submitted_at END
FROM jsonb_to_recordset(%(rows)s::jsonb) AS x(id uuid, external_id text, raw_status text, polls int, unknowns smallint,
  contact_errors smallint, cancel_answer text, urls jsonb, answer jsonb, understood boolean, poll_s float8)
WHERE p.task_id = x.id RETURNING p.task_id::text
