-- A redriven platform task begins anew over there: a fresh time limit, nothing submitted.
UPDATE platform_task p SET external_id = NULL, raw_status = NULL, polls = 0, unknowns = 0, contact_errors = 0,
  submit_started_at = NULL, submitted_at = NULL, polled_at = NULL, poll_at = NULL, silent_since = NULL, urls = '{}', answer = NULL,
  ended_at = NULL, cancel_requested_at = NULL, cancel_answer = NULL,
  expires_at = clock_timestamp() + f.time_limit_s * interval '1 second'
FROM platform f WHERE p.task_id = %(id)s AND f.id = p.platform_id RETURNING p.task_id::text
