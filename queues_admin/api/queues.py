"""Queues: list, pause, resume, empty, settings."""

from typing import Any

from jobs.domain.errors import Conflict, Forbidden, NotFound
from jobs.operations import emptying, removing
from jobs.operations import queues as operations
from jobs.selectors import daily, queues
from jobs.selectors.daily import Day
from jobs.selectors.paging import Page, whole
from jobs.selectors.queues import QueueView
from jobs.store import catalog
from queues_admin.api.answers import Emptied, QueueDeleted
from queues_admin.api.bodies import (
    Emptying,
    HistoryQuery,
    QueueChange,
    QueueDelete,
    ShortListQuery,
)
from queues_admin.api.endpoint import Api, Call, Repeats, endpoint, steering
from queues_admin.api.envelope import Reply


class Queues(Api):
    @endpoint(
        summary="All queues with settings and counters",
        scope="read",
        query=ShortListQuery,
        data=Page[QueueView],
    )
    def get(self, call: Call) -> Reply:
        return call.page(queues.listing(call.sees))


class Queue(Api):
    @endpoint(summary="One queue", scope="read", data=QueueView, raises=(NotFound,))
    def get(self, call: Call, name: str) -> Reply:
        return Reply(data=_get(call, name))

    @endpoint(
        summary="Change a queue's weight, capacity or concurrency",
        scope="operate",
        action="queue.change",
        body=QueueChange,
        data=QueueView,
        raises=(NotFound,),
    )
    def patch(self, call: Call, name: str) -> Reply:
        name = _name(call, name)
        if not call.of_house:
            raise Forbidden("Weight and capacity are set by the default tenant's keys", queue=name)
        before = _settings(_get(call, name))
        change: QueueChange = call.body
        with call.audited(name, before=before) as after:
            operations.configure(
                name, weight=change.weight, capacity=change.capacity, concurrency=change.concurrency
            )
            after.update(_settings(_get(call, name)))
        return Reply(data=_get(call, name))

    @endpoint(
        summary="Delete a tenant's queue: an empty one, or by force with all that waits in it",
        scope="admin",
        action="queue.delete",
        query=QueueDelete,
        data=QueueDeleted,
        raises=(NotFound, Conflict),
    )
    def delete(self, call: Call, name: str) -> Reply:
        name, asked = _name(call, name), call.query
        done = removing.remove(name, force=asked.force, actor=call.actor, reason=asked.reason)
        with call.audited(name, reason=asked.reason) as after:
            after.update(force=asked.force, deleted=done.deleted, refunded_credits=done.refunded)
        data = QueueDeleted(queue=name, deleted=done.deleted, refunded_credits=done.refunded)
        return Reply(data=data)


class History(Api):
    @endpoint(
        summary="A queue's last days, newest first",
        scope="read",
        query=HistoryQuery,
        data=Page[Day],
        raises=(NotFound,),
    )
    def get(self, call: Call, name: str) -> Reply:
        return Reply(data=whole(daily.history(call.query.days, _name(call, name))))


class Pause(Api):
    @steering(
        summary="Pause a queue",
        action="queue.pause",
        data=QueueView,
        raises=(NotFound, Conflict),
    )
    def post(self, call: Call, name: str) -> Reply:
        name = _name(call, name)
        with call.audited(name, reason=call.body.reason):
            operations.pause(name, reason=call.body.reason)
        return Reply(data=_get(call, name))


class Resume(Api):
    @steering(
        summary="Resume a paused queue",
        action="queue.resume",
        data=QueueView,
        raises=(NotFound, Conflict),
    )
    def post(self, call: Call, name: str) -> Reply:
        name = _name(call, name)
        with call.audited(name, reason=call.body.reason):
            operations.resume(name)
        return Reply(data=_get(call, name))


class Empty(Api):
    @endpoint(
        summary="Delete all waiting tasks of a queue; charged ones are refunded",
        scope="operate",
        action="queue.empty",
        repeats=Repeats.STEPS,
        body=Emptying,
        optional_body=True,
        data=Emptied,
        raises=(NotFound,),
    )
    def post(self, call: Call, name: str) -> Reply:
        asked: Emptying = call.body
        name = _name(call, name)
        if asked.all_tenants and call.sees is not None:
            raise Forbidden("Emptying for all tenants needs scope admin of the default tenant")
        done = emptying.empty(
            name,
            actor=call.actor,
            reason=asked.reason,
            tenant_id=None if asked.all_tenants else call.tenant_id,
        )
        with call.audited(name, reason=asked.reason) as after:
            after.update(deleted=done.deleted, refunded_credits=done.refunded)
            if asked.all_tenants:
                after["all_tenants"] = True
        data = Emptied(
            queue=name,
            deleted=done.deleted,
            refunded_credits=done.refunded,
            remaining=done.remaining,
        )
        return Reply(data=data)


def _name(call: Call, name: str) -> str:
    """The queue's name in full, which a tenant need not say. Raises NotFound."""
    return _get(call, name).queue


def _get(call: Call, name: str) -> QueueView:
    found = queues.get(catalog.full_name(call.tenant_id, name), call.sees)
    if found is None:
        raise NotFound("There is no such queue", queue=name)
    return found


def _settings(queue: QueueView) -> dict[str, Any]:
    return {"weight": queue.weight, "capacity": queue.capacity, "concurrency": queue.concurrency}
