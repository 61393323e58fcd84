-- Add amounts to balances, accounts locked in the order of their ids. The last statement of its transaction.
WITH l AS MATERIALIZED (
  SELECT a.id, x.amount FROM account a JOIN unnest(%(accounts)s::bigint[], %(amounts)s::bigint[]) x(id, amount) USING (id)
  ORDER BY a.id FOR NO KEY UPDATE OF a
)
UPDATE account a SET balance = a.balance + l.amount FROM l WHERE a.id = l.id RETURNING a.id, a.balance
