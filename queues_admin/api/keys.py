"""API keys: list, create, revoke. A key's secret is shown once, when it is made."""

from jobs.domain.errors import Invalid, NotFound
from jobs.operations import keys as operations
from jobs.operations import tenants
from jobs.selectors import keys
from jobs.selectors.keys import KeyView
from jobs.selectors.paging import Page
from queues_admin.api import auth
from queues_admin.api.answers import Done, NewKeyResult
from queues_admin.api.bodies import KeyNew, ShortListQuery
from queues_admin.api.endpoint import Api, Call, endpoint
from queues_admin.api.envelope import Reply


class Keys(Api):
    @endpoint(
        summary="All keys, without their secrets",
        scope="admin",
        query=ShortListQuery,
        data=Page[KeyView],
    )
    def get(self, call: Call) -> Reply:
        q: ShortListQuery = call.query
        return Reply(data=keys.listing(call.sees, after=q.cursor, limit=q.limit))

    @endpoint(
        summary="Create a key",
        scope="admin",
        action="key.create",
        body=KeyNew,
        data=NewKeyResult,
        statuses=(201,),
    )
    def post(self, call: Call) -> Reply:
        asked: KeyNew = call.body
        tenant_id = _tenant(call, asked)
        with call.audited(f"key:{asked.name}") as after:
            made = operations.create(
                name=asked.name,
                scopes=asked.scopes,
                tenant_id=tenant_id,
                expires_at=asked.expires_at,
                created_by=call.actor,
            )
            after.update(key_id=made.key_id, scopes=asked.scopes)
            if tenant_id != call.tenant_id:
                after["tenant"] = asked.tenant
        data = NewKeyResult(
            key=made.key, key_id=made.key_id, name=asked.name, scopes=sorted(set(asked.scopes))
        )
        return Reply(data=data, status=201)


class Key(Api):
    @endpoint(
        summary="Revoke a key; it is refused everywhere within 5 seconds",
        scope="admin",
        action="key.revoke",
        data=Done,
        raises=(NotFound,),
    )
    def delete(self, call: Call, key_id: str) -> Reply:
        with call.audited(f"key:{key_id}"):
            operations.revoke(key_id, tenant_id=call.sees)
        auth.forget()
        return Reply(data=Done(name=key_id))


def _tenant(call: Call, asked: KeyNew) -> int:
    """The tenant that the key is for. Raises Invalid, with one text for unknown and for foreign ones."""
    if asked.expires_at is not None and asked.expires_at.tzinfo is None:
        raise Invalid("`expires_at` needs a time zone", field="expires_at")
    if asked.tenant is None:
        return call.tenant_id
    try:
        found = tenants.id_of(asked.tenant)
    except NotFound:
        found = None
    if found is None or not (call.of_house or found == call.tenant_id):
        raise Invalid("There is no such tenant", field="tenant", tenant=asked.tenant)
    return found
