-- The canonical text of audit entries, over which the chain is made.
SELECT e.id, jsonb_build_array(e.id, to_char(e.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), e.actor, e.address,
  e.action, e.target, e.reason, e.refused, e.before, e.after, e.tenant_id)::text
FROM audit_entry e WHERE e.id = ANY(%(ids)s::bigint[]) ORDER BY e.id
