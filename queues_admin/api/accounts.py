"""Accounts: balance, grant, ledger."""

from jobs.domain.errors import NotFound
from jobs.operations import credits as operations
from jobs.selectors import credits
from jobs.selectors.credits import AccountView, EntryView
from jobs.selectors.paging import Page
from queues_admin.api.bodies import Grant, TenantListQuery, TenantQuery
from queues_admin.api.endpoint import Api, Call, endpoint
from queues_admin.api.envelope import Reply


class Accounts(Api):
    @endpoint(
        summary="All accounts",
        scope="read",
        query=TenantListQuery,
        data=Page[AccountView],
        of_any_tenant=True,
    )
    def get(self, call: Call) -> Reply:
        q: TenantListQuery = call.query
        return Reply(data=credits.accounts(after=q.cursor, limit=q.limit, tenant_id=call.tenant_id))


class Account(Api):
    @endpoint(
        summary="A user's balance",
        scope="read",
        data=AccountView,
        raises=(NotFound,),
        query=TenantQuery,
        of_any_tenant=True,
    )
    def get(self, call: Call, user_id: str) -> Reply:
        return Reply(data=credits.account(_user(user_id), call.tenant_id))

    @endpoint(
        summary="Grant credits; opens the account if need be",
        scope="admin",
        action="account.grant",
        body=Grant,
        data=AccountView,
        raises=(NotFound,),
        query=TenantQuery,
        of_any_tenant=True,
    )
    def post(self, call: Call, user_id: str) -> Reply:
        asked: Grant = call.body
        user = _user(user_id)
        with call.audited(f"account:{user}", reason=asked.reason) as after:
            done = operations.grant(
                user_id=user,
                amount=asked.grant,
                reason=asked.reason,
                actor=call.actor,
                tenant_id=call.tenant_id,
            )
            after.update(granted=asked.grant, balance=done.balance)
        return Reply(data=AccountView(user_id=user, balance=done.balance))


class Entries(Api):
    @endpoint(
        summary="A user's ledger, newest first",
        scope="read",
        query=TenantListQuery,
        data=Page[EntryView],
        raises=(NotFound,),
        of_any_tenant=True,
    )
    def get(self, call: Call, user_id: str) -> Reply:
        q: TenantListQuery = call.query
        return Reply(
            data=credits.entries(
                _user(user_id), after=q.cursor, limit=q.limit, tenant_id=call.tenant_id
            )
        )


def _user(text: str) -> int:
    """The number in the path; what is none is no user's."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        raise NotFound("A user id is a number", user_id=text)
    return int(text)
