"""Accounts and the ledger, read only."""

from datetime import datetime

import msgspec

from jobs.domain import ids
from jobs.domain.errors import NotFound
from jobs.models import CreditEntry
from jobs.selectors.paging import Page, cursor, key_int
from jobs.store import postgres

_KINDS = dict(CreditEntry.KINDS)


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    user_id: int
    balance: int


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """A positive amount was added to the balance, a negative one taken from it."""

    id: int
    kind: str
    amount: int
    task_id: str | None
    reason: str
    actor: str
    created_at: datetime


def account(user_id: int, tenant_id: int = 1) -> AccountView:
    """Raises NotFound for a user without an account."""
    _, balance = _account(user_id, tenant_id)
    return AccountView(user_id=user_id, balance=balance)


def accounts(*, after: str | None = None, limit: int = 20, tenant_id: int = 1) -> Page[AccountView]:
    """By account id, oldest first."""
    rows = postgres.query(
        "SELECT id, user_id, balance FROM account WHERE tenant_id = %s AND id > %s ORDER BY id LIMIT %s",
        [tenant_id, key_int(after) or 0, limit + 1],
    )
    items = [AccountView(user_id=row[1], balance=row[2]) for row in rows[:limit]]
    more = len(rows) > limit
    total = len(items) if after is None and not more else _accounts(tenant_id)
    return Page(
        items=items, next_cursor=cursor(rows[limit - 1][0]) if more else None, estimated_total=total
    )


def entries(
    user_id: int, *, after: str | None = None, limit: int = 20, tenant_id: int = 1
) -> Page[EntryView]:
    """A user's ledger, newest first. Raises NotFound."""
    account_id, _ = _account(user_id, tenant_id)
    rows = postgres.query(
        "SELECT e.id, e.kind, e.amount, e.task_id, i.custom_id, e.reason, e.actor, e.created_at FROM credit_entry e"
        " LEFT JOIN task_info i ON i.id = e.task_id"
        " WHERE e.account_id = %s AND (%s::bigint IS NULL OR e.id < %s) ORDER BY e.id DESC LIMIT %s",
        [account_id, key_int(after), key_int(after), limit + 1],
    )
    more = len(rows) > limit
    items = [_entry(row) for row in rows[:limit]]
    total = len(items) if after is None and not more else _count(account_id)
    return Page(
        items=items, next_cursor=cursor(rows[limit - 1][0]) if more else None, estimated_total=total
    )


def estimated(table: str) -> int:
    """The planner's idea of a table's rows; at least 0."""
    rows = postgres.query(
        "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = %s::regclass", [table]
    )
    return int(rows[0][0])


def _account(user_id: int, tenant_id: int) -> tuple[int, int]:
    rows = postgres.query(
        "SELECT id, balance FROM account WHERE tenant_id = %s AND user_id = %s",
        [tenant_id, user_id],
    )
    if not rows:
        raise NotFound("This user has no account", user_id=user_id)
    return rows[0][0], rows[0][1]


def _accounts(tenant_id: int) -> int:
    """How many a tenant has, exact up to 10,000."""
    rows = postgres.query(
        "SELECT count(*) FROM (SELECT 1 FROM account WHERE tenant_id = %s LIMIT 10000) x",
        [tenant_id],
    )
    return int(rows[0][0])


def _count(account_id: int) -> int:
    """Exact up to 10,000."""
    rows = postgres.query(
        "SELECT count(*) FROM (SELECT 1 FROM credit_entry WHERE account_id = %s LIMIT 10000) x",
        [account_id],
    )
    return int(rows[0][0])


def _entry(row: postgres.Row) -> EntryView:
    id_, kind, amount, task_id, custom_id, reason, actor, created_at = row
    return EntryView(
        id=id_,
        kind=_KINDS[kind],
        amount=amount,
        task_id=custom_id or (ids.public_id(task_id) if task_id else None),
        reason=reason,
        actor=actor,
        created_at=created_at,
    )
