-- Balance and sum of all entries of these accounts, in one snapshot.
SELECT a.id, a.balance, coalesce(sum(e.amount), 0)::bigint
FROM account a LEFT JOIN credit_entry e ON e.account_id = a.id
WHERE a.id = ANY(%(accounts)s::bigint[]) GROUP BY a.id, a.balance
