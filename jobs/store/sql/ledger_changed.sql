-- Balance and sum of entries, from each account's checkpoint on. The checkpoint moves to what is an hour old: no
-- transaction lives that long, so nothing can still appear below it. One statement, one snapshot.
WITH a AS MATERIALIZED (
  SELECT a.id, a.balance, coalesce(c.upto, 0) AS upto, coalesce(c.total, 0) AS total
  FROM account a LEFT JOIN ledger_checkpoint c ON c.account_id = a.id WHERE a.id = ANY(%(accounts)s::bigint[])
), e AS MATERIALIZED (
  SELECT e.account_id, e.id, e.amount, e.created_at FROM a JOIN credit_entry e ON e.account_id = a.id AND e.id > a.upto
), o AS (
  SELECT account_id, max(id) AS upto FROM e WHERE created_at < (SELECT clock_timestamp()) - interval '1 hour' GROUP BY 1
), s AS MATERIALIZED (
  SELECT a.id, a.balance, a.total + coalesce(sum(e.amount), 0)::bigint AS found, o.upto,
    a.total + coalesce(sum(e.amount) FILTER (WHERE e.id <= o.upto), 0)::bigint AS settled
  FROM a LEFT JOIN e ON e.account_id = a.id LEFT JOIN o ON o.account_id = a.id
  GROUP BY a.id, a.balance, a.total, o.upto
), m AS (
  INSERT INTO ledger_checkpoint (account_id, upto, total)
  SELECT id, upto, settled FROM s WHERE upto IS NOT NULL AND balance = found
  ON CONFLICT (account_id) DO UPDATE SET upto = excluded.upto, total = excluded.total
  WHERE ledger_checkpoint.upto < excluded.upto
)
SELECT id, balance, found FROM s
