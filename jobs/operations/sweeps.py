"""Collecting many small balances into one account (归集), a range of accounts at a time, each range once."""

from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from jobs.domain.errors import Invalid
from jobs.operations import credits
from jobs.operations.checks import MAX_SHARDS
from jobs.store import catalog, postgres


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    accounts: int
    amount: int


def ranges(size: int) -> list[tuple[int, int]]:
    """All account ids as ranges (above, up to and with); wider than `size` if there would be too many."""
    [(last,)] = postgres.query("SELECT coalesce(max(id), 0) FROM account")
    size = max(size, -(-last // MAX_SHARDS))
    return [(above, above + size) for above in range(0, max(last, 1), size)]


def target(user_id: int) -> int:
    """The account that collects. Raises Invalid when this user has none."""
    found = credits.account_id(catalog.DEFAULT_TENANT, user_id)
    if found is None:
        raise Invalid(
            "User %(user_id)s has no account to collect into", user_id=user_id, field="into"
        )
    return found


def collected(parent: UUID) -> Collected:
    """What all shards of a sweep have moved, by the ledger."""
    [(accounts, amount)] = postgres.query(
        "SELECT count(*), coalesce(-sum(e.amount), 0)::bigint FROM task t"
        " JOIN credit_entry e ON e.task_id = t.id AND e.kind = 4 AND e.amount < 0"
        " WHERE t.parent_id = %s",
        [parent],
    )
    return Collected(accounts=accounts, amount=amount)


def collect(
    task_id: UUID, *, into: int, above: int, upto: int, at_most: int, reason: str
) -> Collected:
    """Move balances of `at_most` or less, of a range of accounts, to user `into`; once per task.

    The ledger's entries are that memory. Raises Invalid.
    """
    account = target(into)
    with transaction.atomic():
        postgres.query(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 9)) IS NULL", [str(task_id)]
        )
        [(accounts, amount)] = postgres.query(
            "SELECT count(*), coalesce(-sum(amount), 0)::bigint FROM credit_entry"
            " WHERE task_id = %s AND kind = 4 AND amount < 0",
            [task_id],
        )
        if not accounts:
            [(accounts, amount)] = postgres.fetch(
                "sweep_collect",
                {
                    "tenant": catalog.DEFAULT_TENANT,
                    "into": account,
                    "above": above,
                    "upto": upto,
                    "at_most": at_most,
                    "task": task_id,
                    "reason": reason,
                    "actor": "sweep",
                },
            )
    return Collected(accounts=accounts, amount=amount)
