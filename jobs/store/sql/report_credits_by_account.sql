-- Report: each account's balance and what moved it in the last days, by user.
SELECT a.user_id, a.balance, coalesce(sum(e.amount) FILTER (WHERE e.kind = 1), 0)::bigint AS granted,
  coalesce(-sum(e.amount) FILTER (WHERE e.kind = 2), 0)::bigint AS charged,
  coalesce(sum(e.amount) FILTER (WHERE e.kind = 3), 0)::bigint AS refunded,
  coalesce(sum(e.amount) FILTER (WHERE e.kind = 4), 0)::bigint AS adjusted
FROM account a LEFT JOIN credit_entry e ON e.account_id = a.id AND e.created_at >= now() - %(days)s * interval '1 day'
GROUP BY a.id, a.user_id, a.balance ORDER BY a.user_id
