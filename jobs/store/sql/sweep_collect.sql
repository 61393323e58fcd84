-- Move the small balances of a range of accounts to one account: (accounts, amount). Entries first, balances last.
-- All accounts are locked in the order of their ids; what has changed meanwhile is judged by its new balance.
WITH l AS MATERIALIZED (
  SELECT id, balance FROM account
  WHERE tenant_id = %(tenant)s AND (id = %(into)s OR (id > %(above)s AND id <= %(upto)s AND balance BETWEEN 1 AND %(at_most)s))
  ORDER BY id FOR NO KEY UPDATE
), s AS (
  SELECT id, balance FROM l WHERE id <> %(into)s AND balance > 0
), total AS (
  SELECT count(*)::int AS accounts, coalesce(sum(balance), 0)::bigint AS amount FROM s
), e AS (
  INSERT INTO credit_entry (account_id, kind, amount, task_id, cycle, reason, actor)
  SELECT id, 4, -balance, %(task)s::uuid, 0, %(reason)s, %(actor)s FROM s
  UNION ALL SELECT %(into)s, 4, amount, %(task)s::uuid, 0, %(reason)s, %(actor)s FROM total WHERE amount > 0
), u AS (
  UPDATE account a SET balance = a.balance + CASE WHEN l.id = %(into)s THEN total.amount ELSE -l.balance END
  FROM l, total WHERE a.id = l.id AND total.amount > 0
)
SELECT accounts, amount FROM total
