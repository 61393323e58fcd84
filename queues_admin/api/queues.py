"""Queues: list, pause, resume, empty, settings."""

from typing import Any

from jobs.domain.errors import Conflict, NotFound
from jobs.operations import emptying
from jobs.operations import queues as operations
from jobs.selectors import queues
from jobs.selectors.paging import Page, whole
from jobs.selectors.queues import QueueView
from queues_admin.api.answers import Emptied
from queues_admin.api.bodies import QueueChange, WithReason
from queues_admin.api.endpoint import Api, Call, endpoint
from queues_admin.api.envelope import Reply


class Queues(Api):
    @endpoint(summary="All queues with settings and counters", scope="read", data=Page[QueueView])
    def get(self, call: Call) -> Reply:
        return Reply(data=whole(queues.listing()))


class Queue(Api):
    @endpoint(summary="One queue", scope="read", data=QueueView, raises=(NotFound,))
    def get(self, call: Call, name: str) -> Reply:
        return Reply(data=_get(name))

    @endpoint(
        summary="Change a queue's weight, capacity or concurrency",
        scope="operate",
        action="queue.change",
        body=QueueChange,
        data=QueueView,
        raises=(NotFound,),
    )
    def patch(self, call: Call, name: str) -> Reply:
        before = _settings(_get(name))
        change: QueueChange = call.body
        with call.audited(name, before=before) as after:
            operations.configure(
                name, weight=change.weight, capacity=change.capacity, concurrency=change.concurrency
            )
            after.update(_settings(_get(name)))
        return Reply(data=_get(name))


class Pause(Api):
    @endpoint(
        summary="Pause a queue",
        scope="operate",
        action="queue.pause",
        body=WithReason,
        optional_body=True,
        data=QueueView,
        raises=(NotFound, Conflict),
    )
    def post(self, call: Call, name: str) -> Reply:
        _get(name)
        with call.audited(name, reason=call.body.reason):
            operations.pause(name, reason=call.body.reason)
        return Reply(data=_get(name))


class Resume(Api):
    @endpoint(
        summary="Resume a paused queue",
        scope="operate",
        action="queue.resume",
        body=WithReason,
        optional_body=True,
        data=QueueView,
        raises=(NotFound, Conflict),
    )
    def post(self, call: Call, name: str) -> Reply:
        _get(name)
        with call.audited(name, reason=call.body.reason):
            operations.resume(name)
        return Reply(data=_get(name))


class Empty(Api):
    @endpoint(
        summary="Delete all waiting tasks of a queue; charged ones are refunded",
        scope="operate",
        action="queue.empty",
        body=WithReason,
        optional_body=True,
        data=Emptied,
        raises=(NotFound,),
    )
    def post(self, call: Call, name: str) -> Reply:
        _get(name)
        done = emptying.empty(name, actor=call.actor, reason=call.body.reason)
        with call.audited(name, reason=call.body.reason) as after:
            after.update(deleted=done.deleted, refunded_credits=done.refunded)
        data = Emptied(
            queue=name,
            deleted=done.deleted,
            refunded_credits=done.refunded,
            remaining=done.remaining,
        )
        return Reply(data=data)


def _get(name: str) -> QueueView:
    found = queues.get(name)
    if found is None:
        raise NotFound("There is no such queue", queue=name)
    return found


def _settings(queue: QueueView) -> dict[str, Any]:
    return {"weight": queue.weight, "capacity": queue.capacity, "concurrency": queue.concurrency}
