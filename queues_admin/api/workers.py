"""Worker processes: list, quiet, wake, stop."""

from jobs.domain.errors import NotFound
from jobs.operations import workers as operations
from jobs.selectors import workers
from jobs.selectors.paging import Page
from jobs.selectors.workers import WorkerView
from queues_admin.api import bodies
from queues_admin.api.answers import Done
from queues_admin.api.bodies import ShortListQuery
from queues_admin.api.endpoint import Api, Call, endpoint, steering
from queues_admin.api.envelope import Reply


class Workers(Api):
    @endpoint(
        summary="Living workers",
        scope="read",
        query=ShortListQuery,
        data=Page[WorkerView],
        raises=(NotFound,),
    )
    def get(self, call: Call) -> Reply:
        call.house_only()
        return call.page(workers.listing().items)


class Quiet(Api):
    @steering(
        summary="Let a worker take no more tasks",
        action="worker.quiet",
        data=Done,
        raises=(NotFound,),
    )
    def post(self, call: Call, name: str) -> Reply:
        return _command(call, name, "quiet")


class Wake(Api):
    @steering(
        summary="End a worker's quiet time: it takes tasks again",
        action="worker.wake",
        data=Done,
        raises=(NotFound,),
    )
    def post(self, call: Call, name: str) -> Reply:
        return _command(call, name, "")


class Stop(Api):
    @steering(
        summary="Let a worker finish and end",
        action="worker.stop",
        data=Done,
        raises=(NotFound,),
    )
    def post(self, call: Call, name: str) -> Reply:
        return _command(call, name, "stop")


class Concurrency(Api):
    @endpoint(
        summary="Give a running worker more or fewer slots",
        scope="operate",
        action="worker.concurrency",
        body=bodies.Concurrency,
        data=Done,
        raises=(NotFound,),
    )
    def post(self, call: Call, name: str) -> Reply:
        found = _find(call, name)
        with call.audited(found.name, reason=call.body.reason):
            operations.set_concurrency(found.id, call.body.concurrency)
        return Reply(data=Done(name=found.name))


def _command(call: Call, name: str, verb: str) -> Reply:
    found = _find(call, name)
    with call.audited(found.name, reason=call.body.reason):
        operations.command(found.id, verb)
    return Reply(data=Done(name=found.name))


def _find(call: Call, name: str) -> WorkerView:
    call.house_only()
    found = workers.find(name)
    if found is None:
        raise NotFound("There is no such living worker", worker=name)
    return found
