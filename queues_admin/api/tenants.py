"""Tenants: list, create, change. Only for keys of the default tenant."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from jobs.domain.errors import Conflict, NotFound
from jobs.operations import tenants as operations
from jobs.selectors import tenants
from jobs.selectors.paging import Page
from jobs.selectors.tenants import TenantView
from queues_admin.api.bodies import Body, ShortListQuery, WithReason
from queues_admin.api.endpoint import Api, Call, endpoint
from queues_admin.api.envelope import Reply

Name = Annotated[str, Meta(max_length=200)]


class TenantNew(Body, frozen=True, kw_only=True):
    slug: Annotated[str, Meta(min_length=1, max_length=100)]
    name: Name = ""
    max_pending: int | None = None
    max_active: int | None = None
    rate_per_s: int | None = None


class TenantChange(Body, frozen=True, kw_only=True):
    """What is left out stays as it is; null takes a quota away."""

    name: Name | UnsetType = UNSET
    max_pending: int | UnsetType | None = UNSET
    max_active: int | UnsetType | None = UNSET
    rate_per_s: int | UnsetType | None = UNSET


class Tenants(Api):
    @endpoint(
        summary="All tenants",
        scope="admin",
        query=ShortListQuery,
        data=Page[TenantView],
        raises=(NotFound,),
    )
    def get(self, call: Call) -> Reply:
        call.house_only()
        return call.page(tenants.listing().items)

    @endpoint(
        summary="Create a tenant with its queues",
        scope="admin",
        action="tenant.create",
        body=TenantNew,
        data=TenantView,
        statuses=(201,),
        raises=(Conflict, NotFound),
    )
    def post(self, call: Call) -> Reply:
        call.house_only()
        given: dict[str, Any] = msgspec.to_builtins(call.body)
        with call.audited(f"tenant:{given['slug']}") as after:
            operations.create(given.pop("slug"), given.pop("name"), **given)
            after.update(given)
        data = tenants.get(call.body.slug)
        headers = {"Location": f"/api/v1/tenants/{data.slug}"}
        return Reply(data=data, status=201, headers=headers)


class Tenant(Api):
    @endpoint(summary="One tenant", scope="admin", data=TenantView, raises=(NotFound,))
    def get(self, call: Call, slug: str) -> Reply:
        call.house_only()
        return Reply(data=tenants.get(slug))

    @endpoint(
        summary="Change a tenant's name or quotas",
        scope="admin",
        action="tenant.change",
        body=TenantChange,
        data=TenantView,
        raises=(NotFound,),
    )
    def patch(self, call: Call, slug: str) -> Reply:
        call.house_only()
        before = tenants.get(slug)
        given: dict[str, Any] = msgspec.to_builtins(call.body)
        noted = {name: getattr(before, name) for name in given}
        with call.audited(f"tenant:{slug}", before=noted) as after:
            operations.change(slug, given)
            after.update(given)
        return Reply(data=tenants.get(slug))


class Pause(Api):
    @endpoint(
        summary="Hold all queues of a tenant; its own keys cannot lift that",
        scope="admin",
        action="tenant.pause",
        body=WithReason,
        optional_body=True,
        data=TenantView,
        raises=(NotFound, Conflict),
    )
    def post(self, call: Call, slug: str) -> Reply:
        call.house_only()
        with call.audited(f"tenant:{slug}", reason=call.body.reason):
            operations.pause(slug, actor=call.actor, reason=call.body.reason)
        return Reply(data=tenants.get(slug))


class Resume(Api):
    @endpoint(
        summary="End the pause of a tenant; queues that are paused themselves stay so",
        scope="admin",
        action="tenant.resume",
        body=WithReason,
        optional_body=True,
        data=TenantView,
        raises=(NotFound, Conflict),
    )
    def post(self, call: Call, slug: str) -> Reply:
        call.house_only()
        with call.audited(f"tenant:{slug}", reason=call.body.reason):
            operations.resume(slug)
        return Reply(data=tenants.get(slug))
