"""Accounts and the ledger: an entry first, the balance last, both in the caller's transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog
from django.db import transaction

from jobs.domain.errors import InsufficientCredits, Invalid, NotFound
from jobs.models import CreditEntry
from jobs.operations.requests import Prepared
from jobs.store import postgres
from jobs.store.crashes import crash_at_commit, crash_point

log = structlog.get_logger("credits")

_MOST = 2**53


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    account_id: int
    user_id: int
    balance: int


def account_id(tenant_id: int, user_id: int | None) -> int | None:
    """The id of a user's account, None when there is none."""
    rows = postgres.query(
        "SELECT id FROM account WHERE tenant_id = %s AND user_id = %s", [tenant_id, user_id]
    )
    return int(rows[0][0]) if rows else None


def grant(*, user_id: int, amount: int, reason: str, actor: str, tenant_id: int = 1) -> Balance:
    """Add credits to a user's account, which is opened if need be. Raises Invalid (amount, no reason)."""
    if not 1 <= amount <= _MOST:
        raise Invalid("A grant is between 1 and %(most)s credits", most=_MOST, given=amount)
    if not reason.strip():
        raise Invalid("A grant needs a reason; it stays in the ledger", field="reason")
    with transaction.atomic():
        postgres.query(
            "INSERT INTO account (tenant_id, user_id, balance) VALUES (%s, %s, 0)"
            " ON CONFLICT (tenant_id, user_id) DO NOTHING RETURNING id",
            [tenant_id, user_id],
        )
        account = account_id(tenant_id, user_id)
        if account is None:
            raise NotFound("The account vanished while it was opened", user_id=user_id)
        _enter(account, CreditEntry.GRANT, amount, reason, actor)
        balance = _add({account: amount})[account]
    return Balance(account_id=account, user_id=user_id, balance=balance)


def adjust(*, user_id: int, amount: int, reason: str, actor: str, tenant_id: int = 1) -> Balance:
    """Correct a balance by hand, up or down. Raises NotFound, Invalid (no reason), InsufficientCredits."""
    if amount == 0 or abs(amount) > _MOST or not reason.strip():
        raise Invalid("An adjustment needs an amount other than 0 and a reason")
    with transaction.atomic():
        account = account_id(tenant_id, user_id)
        if account is None:
            raise NotFound("This user has no account", user_id=user_id)
        _enter(account, CreditEntry.ADJUSTMENT, amount, reason, actor)
        [(balance,)] = postgres.query(
            "SELECT balance FROM account WHERE id = %s FOR NO KEY UPDATE", [account]
        )
        if balance + amount < 0:
            raise InsufficientCredits(balance=balance)
        after = _add({account: amount})[account]
    return Balance(account_id=account, user_id=user_id, balance=after)


def charge(items: Sequence[Prepared]) -> None:
    """Charge new tasks to their accounts; last statements of the transaction. Raises InsufficientCredits(users)."""
    if not items:
        return
    postgres.query(
        "INSERT INTO credit_entry (account_id, kind, amount, task_id, cycle, reason, actor)"
        " SELECT a, 2, -c, t, 0, 'task', 'system' FROM unnest(%s::bigint[], %s::bigint[], %s::uuid[]) AS n(a, c, t)"
        " ORDER BY t RETURNING 1",
        [[i.account_id for i in items], [i.credits for i in items], [i.id for i in items]],
    )
    totals: dict[int, int] = {}
    users: dict[int, int | None] = {}
    for item in items:
        if item.account_id is not None:
            totals[item.account_id] = totals.get(item.account_id, 0) + item.credits
            users[item.account_id] = item.request.user_id
    take(totals, users)


def take(totals: dict[int, int], users: dict[int, int | None]) -> None:
    """Subtract totals from balances that cover them. Raises InsufficientCredits naming the users who are short."""
    crash_point("entries_written")
    ordered = sorted(totals)
    rows = postgres.query(
        "WITH l AS MATERIALIZED (SELECT a.id, a.balance, x.n FROM account a"
        " JOIN unnest(%s::bigint[], %s::bigint[]) x(id, n) USING (id) ORDER BY a.id FOR NO KEY UPDATE OF a)"
        " UPDATE account a SET balance = a.balance - l.n FROM l WHERE a.id = l.id AND l.balance >= l.n RETURNING a.id",
        [ordered, [totals[a] for a in ordered]],
    )
    short = set(ordered) - {row[0] for row in rows}
    if short:
        raise InsufficientCredits(
            users=[users[a] for a in short], needed=sum(totals[a] for a in short)
        )
    crash_point("balances_moved")
    crash_at_commit("books_committed")


def pay_back(refunds: Iterable[tuple[int, int]]) -> int:
    """Move refunded amounts (account, amount), whose entries were just written, to the balances; returns their sum."""
    totals: dict[int, int] = {}
    for account, amount in refunds:
        totals[account] = totals.get(account, 0) + amount
    if totals:
        _add(totals)
    return sum(totals.values())


def _add(amounts: dict[int, int]) -> dict[int, int]:
    """Add to balances, whose entries were just written: account -> its balance now."""
    crash_point("entries_written")
    ordered = sorted(amounts)
    rows = postgres.fetch(
        "account_add", {"accounts": ordered, "amounts": [amounts[a] for a in ordered]}
    )
    crash_point("balances_moved")
    crash_at_commit("books_committed")
    return dict(rows)


def mismatches(*, limit: int = 100) -> list[tuple[int, int, int]]:
    """Accounts whose balance is not the sum of their entries: (account, balance, sum). Repairs nothing."""
    rows = postgres.query(
        "SELECT a.id, a.balance, coalesce(sum(e.amount), 0)::bigint FROM account a"
        " LEFT JOIN credit_entry e ON e.account_id = a.id GROUP BY a.id, a.balance"
        " HAVING a.balance <> coalesce(sum(e.amount), 0) ORDER BY a.id LIMIT %s",
        [limit],
    )
    return [(r[0], r[1], r[2]) for r in rows]


def _enter(account: int, kind: int, amount: int, reason: str, actor: str) -> None:
    postgres.query(
        "INSERT INTO credit_entry (account_id, kind, amount, cycle, reason, actor) VALUES (%s, %s, %s, 0, %s, %s)"
        " RETURNING 1",
        [account, kind, amount, reason, actor],
    )
