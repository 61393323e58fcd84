-- Store what settled runs learnt; null means "nothing new". In the settle's transaction.
UPDATE platform_task p SET external_id = coalesce(x.external_id, p.external_id),
  raw_status = coalesce(x.raw_status, p.raw_status), polls = x.polls, unknowns = x.unknowns,
  contact_errors = x.contact_errors, urls = CASE WHEN x.urls = '{}' THEN p.urls ELSE x.urls::jsonb END,
  silent_since = CASE WHEN x.understood IS NULL THEN p.silent_since
                      WHEN NOT x.understood THEN coalesce(p.silent_since, clock_timestamp()) END,
  answer = coalesce(x.answer::jsonb, p.answer), cancel_answer = coalesce(x.cancel_answer, p.cancel_answer),
  polled_at = clock_timestamp(),
  submitted_at = CASE WHEN p.external_id IS NULL AND x.external_id IS NOT NULL THEN clock_timestamp()
                      ELSE p.submitted_at END
FROM unnest(%(ids)s::uuid[], %(external_ids)s::text[], %(raw_statuses)s::text[], %(polls)s::int[],
    %(unknowns)s::smallint[], %(contact_errors)s::smallint[], %(cancel_answers)s::text[], %(urls)s::text[], %(answers)s::text[],
    %(understood)s::bool[])
  AS x(id, external_id, raw_status, polls, unknowns, contact_errors, cancel_answer, urls, answer, understood)
WHERE p.task_id = x.id RETURNING p.task_id::text
