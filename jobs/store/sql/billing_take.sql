-- Noted entries, oldest first, locked so that two senders share them.
SELECT e.id, e.kind, e.amount, e.task_id, i.custom_id, e.cycle, e.reason, e.created_at, a.user_id, n.slug
FROM (SELECT entry_id FROM billing_outbox ORDER BY entry_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) o
JOIN credit_entry e ON e.id = o.entry_id
JOIN account a ON a.id = e.account_id
JOIN tenant n ON n.id = a.tenant_id
LEFT JOIN task_info i ON i.id = e.task_id
ORDER BY e.id
