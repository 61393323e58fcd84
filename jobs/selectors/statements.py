"""The ledger read from end to end: every account checked, and an account's month line by line."""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from jobs.domain import ids
from jobs.domain.errors import Invalid, NotFound
from jobs.models import CreditEntry
from jobs.store import postgres

CHUNK = 1000
_KINDS = dict(CreditEntry.KINDS)


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """An account with its balance and the sum of its entries, which must be the same."""

    account_id: int
    tenant_id: int
    user_id: int
    balance: int
    entries: int

    @property
    def agrees(self) -> bool:
        return self.balance == self.entries


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` also `opening` and `closing`; `balance` is the balance after this line."""

    user_id: int
    at: datetime
    entry: int | None = None
    kind: str
    amount: int = 0
    balance: int
    task_id: str | None = None
    reason: str = ""
    actor: str = ""


def check() -> Iterator[Checked]:
    """Every account of every tenant by id. Each chunk is one statement: balances and entries of one moment."""
    last = 0
    while True:
        rows = postgres.query(
            "SELECT a.id, a.tenant_id, a.user_id, a.balance, coalesce((SELECT sum(e.amount) FROM credit_entry e"
            " WHERE e.account_id = a.id), 0)::bigint FROM account a WHERE a.id > %s ORDER BY a.id LIMIT %s",
            [last, CHUNK],
        )
        if not rows:
            return
        for id_, tenant_id, user_id, balance, entries in rows:
            yield Checked(
                account_id=id_,
                tenant_id=tenant_id,
                user_id=user_id,
                balance=balance,
                entries=entries,
            )
        last = rows[-1][0]


def users(tenant_id: int = 1) -> Iterator[int]:
    """Users with an account, in the order in which they were opened."""
    last = 0
    while True:
        rows = postgres.query(
            "SELECT id, user_id FROM account WHERE tenant_id = %s AND id > %s ORDER BY id LIMIT %s",
            [tenant_id, last, CHUNK],
        )
        if not rows:
            return
        yield from (row[1] for row in rows)
        last = rows[-1][0]


def month_of(text: str) -> tuple[datetime, datetime]:
    """`2026-11` as its first moment and that of the next month, in UTC. Raises Invalid."""
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
        after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    except ValueError:
        raise Invalid("A month is written as 2026-11", given=text) from None
    return first, after


def statement(user_id: int, month: str, tenant_id: int = 1) -> Iterator[Line]:
    """Opening balance, the month's entries in order, closing balance. Raises NotFound, Invalid."""
    first, after = month_of(month)
    account_id = _account(user_id, tenant_id)
    [(opening,)] = postgres.query(
        "SELECT coalesce(sum(amount), 0)::bigint FROM credit_entry WHERE account_id = %s AND created_at < %s",
        [account_id, first],
    )
    return _lines(user_id, account_id, opening, first, after)


def _lines(
    user_id: int, account_id: int, opening: int, first: datetime, after: datetime
) -> Iterator[Line]:
    balance = opening
    yield Line(user_id=user_id, at=first, kind="opening", balance=balance)
    for row in _entries(account_id, first, after):
        balance += row[2]
        yield _line(user_id, row, balance)
    yield Line(user_id=user_id, at=after, kind="closing", balance=balance)


def _entries(account_id: int, first: datetime, after: datetime) -> Iterator[postgres.Row]:
    last = 0
    while True:
        rows = postgres.query(
            "SELECT e.id, e.kind, e.amount, e.task_id, i.custom_id, e.reason, e.actor, e.created_at FROM credit_entry e"
            " LEFT JOIN task_info i ON i.id = e.task_id WHERE e.account_id = %s AND e.id > %s"
            " AND e.created_at >= %s AND e.created_at < %s ORDER BY e.id LIMIT %s",
            [account_id, last, first, after, CHUNK],
        )
        yield from rows
        if len(rows) < CHUNK:
            return
        last = rows[-1][0]


def _line(user_id: int, row: postgres.Row, balance: int) -> Line:
    entry, kind, amount, task_id, custom_id, reason, actor, at = row
    return Line(
        user_id=user_id,
        at=at,
        entry=entry,
        kind=_KINDS[kind],
        amount=amount,
        balance=balance,
        task_id=custom_id or (ids.public_id(task_id) if task_id else None),
        reason=reason,
        actor=actor,
    )


def _account(user_id: int, tenant_id: int) -> int:
    rows = postgres.query(
        "SELECT id FROM account WHERE tenant_id = %s AND user_id = %s", [tenant_id, user_id]
    )
    if not rows:
        raise NotFound("This user has no account", user_id=user_id)
    return int(rows[0][0])
