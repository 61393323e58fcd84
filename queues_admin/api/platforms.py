"""External platforms and their circuit breakers."""

from dataclasses import fields
from typing import Any

import msgspec
from msgspec import UNSET

from jobs.domain.errors import Conflict, Forbidden, NotFound
from jobs.operations import breakers
from jobs.operations import platforms as operations
from jobs.operations.platforms import LIMITS, PlatformSpec
from jobs.selectors import breakers as reading
from jobs.selectors import platforms
from jobs.selectors.breakers import BreakerView
from jobs.selectors.paging import Page
from jobs.selectors.platforms import PlatformView
from jobs.store import catalog
from queues_admin.api.bodies import ForceBreaker, PlatformChange, PlatformNew, ShortListQuery
from queues_admin.api.endpoint import Api, Call, endpoint
from queues_admin.api.envelope import Reply

_SECRETS = ("credential", "webhook_secret")


class Platforms(Api):
    @endpoint(summary="All platforms", scope="read", query=ShortListQuery, data=Page[PlatformView])
    def get(self, call: Call) -> Reply:
        return call.page(platforms.listing(call.tenant_id).items)

    @endpoint(
        summary="Register a platform",
        scope="operate",
        action="platform.create",
        body=PlatformNew,
        data=PlatformView,
        statuses=(201,),
        raises=(Conflict,),
    )
    def post(self, call: Call) -> Reply:
        asked: PlatformNew = call.body
        _check_private(call, asked)
        name = catalog.full_name(call.tenant_id, asked.name)
        with call.audited(name) as after:
            operations.create(_spec(name, asked), tenant_id=call.tenant_id)
            after.update(_noted(asked))
        headers = {"Location": f"/api/v1/platforms/{name}"}
        return Reply(data=_get(call, name), status=201, headers=headers)


class Platform(Api):
    @endpoint(summary="One platform", scope="read", data=PlatformView, raises=(NotFound,))
    def get(self, call: Call, name: str) -> Reply:
        return Reply(data=_get(call, name))

    @endpoint(
        summary="Change a platform",
        scope="operate",
        action="platform.change",
        body=PlatformChange,
        data=PlatformView,
        raises=(NotFound,),
    )
    def patch(self, call: Call, name: str) -> Reply:
        asked: PlatformChange = call.body
        _check_private(call, asked)
        name = _get(call, name).name
        with call.audited(name) as after:
            operations.change(
                _spec(name, asked),
                may_reach_private=call.of_house and "admin" in call.caller.scopes,
            )
            after.update(_noted(asked))
        return Reply(data=_get(call, name))


class Breaker(Api):
    @endpoint(
        summary="A platform's circuit breaker", scope="read", data=BreakerView, raises=(NotFound,)
    )
    def get(self, call: Call, name: str) -> Reply:
        return Reply(data=_get(call, name).breaker)

    @endpoint(
        summary="Hold a breaker open or closed, or release it",
        scope="operate",
        action="breaker.force",
        body=ForceBreaker,
        data=BreakerView,
        raises=(NotFound,),
    )
    def post(self, call: Call, name: str) -> Reply:
        return _force(call, _get(call, name).breaker)


class Breakers(Api):
    @endpoint(
        summary="All circuit breakers: of platforms and of service instances",
        scope="read",
        query=ShortListQuery,
        data=Page[BreakerView],
    )
    def get(self, call: Call) -> Reply:
        return call.page(reading.listing(call.sees))


class NamedBreaker(Api):
    @endpoint(
        summary="Hold any breaker open or closed, or release it",
        scope="operate",
        action="breaker.force",
        body=ForceBreaker,
        data=BreakerView,
        raises=(NotFound,),
    )
    def post(self, call: Call, name: str) -> Reply:
        return _force(call, reading.get(name, call.sees))


def _get(call: Call, name: str) -> PlatformView:
    """Raises NotFound."""
    return platforms.get(name, call.tenant_id)


def _force(call: Call, before: BreakerView) -> Reply:
    asked: ForceBreaker = call.body
    with call.audited(
        before.name,
        reason=asked.reason,
        before={"state": before.state, "forced": before.forced},
    ) as after:
        if asked.state is None:
            breakers.release(before.name)
        else:
            breakers.force(
                before.name, asked.state, until_s=asked.for_s, by=call.actor, reason=asked.reason
            )
        after["forced"] = asked.state
    return Reply(data=reading.get(before.name, call.sees))


def _check_private(call: Call, asked: PlatformChange) -> None:
    if asked.allow_private:
        call.require("admin")
        if not call.of_house:
            raise Forbidden("Private addresses are the default tenant's to allow")


def _spec(name: str, asked: PlatformChange) -> PlatformSpec:
    known = {field.name for field in fields(PlatformSpec)} - {"name", "lifted"}
    given = {key: getattr(asked, key) for key in known}
    lifted = tuple(key for key in LIMITS if given[key] is None)
    set_ = {key: value for key, value in given.items() if value is not UNSET}
    return PlatformSpec(name=name, lifted=lifted, **set_)


def _noted(asked: PlatformChange) -> dict[str, Any]:
    """What was asked for, without secrets."""
    given: dict[str, Any] = msgspec.to_builtins(asked)
    return {
        key: "********" if key in _SECRETS else value
        for key, value in given.items()
        if value is not None or key in LIMITS
    }
