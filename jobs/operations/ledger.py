"""The reconciler (C-03): proves that balances are the sums of their entries, reports, never repairs."""

from collections.abc import Iterable, Sequence

import structlog
from django.db import transaction

from jobs.store import postgres

log = structlog.get_logger("ledger")

CHANGED, IN_TURN = 500, 100
_LOOK_BACK = 1000


class Reconciler:
    """One pass checks accounts with new entries (from their checkpoint on) and some others in turn, in full.

    Its places are kept in memory: another process that takes over begins with the last entries and the first account.
    """

    def __init__(self) -> None:
        self._entry: int | None = None
        self._account = 0

    def step(self) -> int:
        """Check one batch; returns how many mismatches are known now."""
        known = [row[0] for row in postgres.query("SELECT account_id FROM ledger_mismatch")]
        changed = self._changed()
        suspects = [row[0] for row in _verify("ledger_changed", changed) if row[1] != row[2]]
        if suspects:  # by their checkpoint, which may itself be wrong
            postgres.query(
                "DELETE FROM ledger_checkpoint WHERE account_id = ANY(%s) RETURNING 1", [suspects]
            )
        whole = {*self._in_turn(), *suspects, *known}
        _note(_verify("ledger_whole", sorted(whole)))
        return mismatches()

    def _changed(self) -> list[int]:
        """Accounts of the entries written since the last pass; ids that became visible late are found in turn."""
        if self._entry is None:
            [(last,)] = postgres.query("SELECT coalesce(max(id), 0) FROM credit_entry")
            self._entry = max(0, int(last) - _LOOK_BACK)
        rows = postgres.query(
            "SELECT account_id, max(id) FROM (SELECT account_id, id FROM credit_entry WHERE id > %s"
            " ORDER BY id LIMIT %s) x GROUP BY account_id",
            [self._entry, CHANGED],
        )
        self._entry = max([self._entry, *(row[1] for row in rows)])
        return [row[0] for row in rows]

    def _in_turn(self) -> list[int]:
        rows = postgres.query(
            "SELECT id FROM account WHERE id > %s ORDER BY id LIMIT %s", [self._account, IN_TURN]
        )
        self._account = rows[-1][0] if len(rows) == IN_TURN else 0
        return [row[0] for row in rows]


def mismatches() -> int:
    """Accounts known to differ from their entries."""
    return int(postgres.query("SELECT count(*) FROM ledger_mismatch")[0][0])


def _verify(statement: str, accounts: Sequence[int]) -> list[postgres.Row]:
    """(account, balance, sum) of each, read in one snapshot."""
    return postgres.fetch(statement, {"accounts": list(accounts)}) if accounts else []


def _note(rows: Iterable[postgres.Row]) -> None:
    """Remember what differs, forget what does no longer."""
    listed = list(rows)
    bad = [row for row in listed if row[1] != row[2]]
    good = [row[0] for row in listed if row[1] == row[2]]
    with transaction.atomic():
        postgres.query("DELETE FROM ledger_mismatch WHERE account_id = ANY(%s) RETURNING 1", [good])
        for account, balance, total in bad:
            new = postgres.query(
                "INSERT INTO ledger_mismatch (account_id, balance, total) VALUES (%s, %s, %s)"
                " ON CONFLICT (account_id) DO UPDATE SET balance = excluded.balance, total = excluded.total"
                " RETURNING xmax = 0",
                [account, balance, total],
            )[0][0]
            if new:
                log.error("ledger mismatch", account=account, balance=balance, entries=total)
