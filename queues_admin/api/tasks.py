"""Tasks: submit one or many, read one or many."""

from typing import Any

import msgspec

from jobs.domain.errors import (
    Conflict,
    InsufficientCredits,
    Invalid,
    NotFound,
    QueueFull,
    TaskCenterError,
)
from jobs.operations import payloads
from jobs.operations import tasks as operations
from jobs.operations.locks import Refused
from jobs.operations.planned_types import unfolded
from jobs.operations.requests import TaskRequest
from jobs.operations.tasks import Submitted
from jobs.selectors import task_history, tasks
from jobs.selectors.aliases import identify
from jobs.selectors.paging import Page
from jobs.selectors.task_filters import TaskFilter
from jobs.selectors.task_history import Attempt, TimelineEvent
from jobs.selectors.task_view import TaskView
from queues_admin.api import auth, errors, limits, parsing, submitted, waiting
from queues_admin.api.answers import BatchItem, BatchResult, ItemError
from queues_admin.api.bodies import (
    Batch,
    OneTaskQuery,
    TaskChange,
    TaskQuery,
    TenantQuery,
    TenantShortListQuery,
)
from queues_admin.api.endpoint import Api, Call, Repeats, endpoint
from queues_admin.api.envelope import Reply

_REFUSALS = (InsufficientCredits, Conflict, QueueFull)


class Tasks(Api):
    @endpoint(
        summary="Submit a task",
        scope="submit",
        body=TaskRequest,
        data=TaskView,
        statuses=(201,),
        raises=_REFUSALS,
        repeats=Repeats.OWN,
    )
    def post(self, call: Call) -> Reply:
        return submit(call)

    @endpoint(
        summary="List tasks, newest first",
        scope="read",
        query=TaskQuery,
        of_any_tenant=True,
        data=Page[TaskView],
        prefix="payload.",
        raises=(NotFound,),
    )
    def get(self, call: Call) -> Reply:
        asked = call.query
        wanted = TaskFilter(**{name: getattr(asked, name) for name in TaskFilter.__struct_fields__})
        return Reply(
            data=tasks.listing(
                wanted, after=asked.cursor, limit=asked.limit, tenant_id=call.tenant_id
            )
        )


class Enqueue(Api):
    @endpoint(
        summary="Submit a task (the short name)",
        scope="submit",
        body=TaskRequest,
        data=TaskView,
        statuses=(201,),
        raises=_REFUSALS,
        repeats=Repeats.OWN,
    )
    def post(self, call: Call) -> Reply:
        return submit(call)


class TaskBatch(Api):
    @endpoint(
        summary="Submit up to 1,000 tasks; one bad item does not sink the others",
        scope="submit",
        body=Batch,
        data=BatchResult,
        batch=True,
    )
    def post(self, call: Call) -> Reply:
        shards = limits.Shards()
        items = [_item(raw, call, shards) for raw in call.body.tasks]
        good = [item for item in items if isinstance(item, TaskRequest)]
        done = iter(operations.submit_many(good, tenant_id=call.tenant_id, actor=call.actor))
        results: list[BatchItem] = []
        for index, item in enumerate(items):
            outcome = next(done) if isinstance(item, TaskRequest) else item
            results.append(_result(index, outcome))
        accepted = sum(1 for result in results if result.error is msgspec.UNSET)
        data = BatchResult(accepted=accepted, rejected=len(results) - accepted, results=results)
        return Reply(data=data)


class Task(Api):
    @endpoint(
        summary="Read a task; `wait` answers when it has ended",
        scope="read",
        query=OneTaskQuery,
        of_any_tenant=True,
        own_wall=True,
        data=TaskView,
        raises=(NotFound,),
    )
    def get(self, call: Call, task_id: str) -> Reply:
        return read(call, task_id)

    @endpoint(
        summary="Give a scheduled task that has not run yet another payload",
        scope="operate",
        action="task.payload",
        query=TenantQuery,
        of_any_tenant=True,
        body=TaskChange,
        data=TaskView,
        raises=(NotFound, Conflict),
    )
    def patch(self, call: Call, task_id: str) -> Reply:
        found = identify(task_id, call.tenant_id)
        view = tasks.get(found, call.tenant_id)
        name = view.task_id
        limits.check_request(call, view.type, call.body.payload)
        if call.body.payload is msgspec.UNSET:
            raise Invalid("Say what to change: `payload`", field="payload")
        with call.audited(name, reason=call.body.reason):
            payloads.change(found, call.body.payload, actor=call.actor, tenant_id=call.tenant_id)
        return Reply(data=tasks.get(found, call.tenant_id))


class Status(Api):
    @endpoint(
        summary="Read a task (the short name)",
        scope="read",
        query=OneTaskQuery,
        of_any_tenant=True,
        own_wall=True,
        data=TaskView,
        raises=(NotFound,),
    )
    def get(self, call: Call, task_id: str) -> Reply:
        return read(call, task_id)


class Attempts(Api):
    @endpoint(
        summary="A task's runs",
        scope="read",
        query=TenantShortListQuery,
        of_any_tenant=True,
        data=Page[Attempt],
        raises=(NotFound,),
    )
    def get(self, call: Call, task_id: str) -> Reply:
        return call.page(
            task_history.attempts(identify(task_id, call.tenant_id), call.tenant_id).items
        )


class Events(Api):
    @endpoint(
        summary="A task's timeline",
        scope="read",
        query=TenantShortListQuery,
        of_any_tenant=True,
        data=Page[TimelineEvent],
        raises=(NotFound,),
    )
    def get(self, call: Call, task_id: str) -> Reply:
        return call.page(
            task_history.events(identify(task_id, call.tenant_id), call.tenant_id).items
        )


def submit(call: Call) -> Reply:
    request: TaskRequest = unfolded(call.body)
    limits.check_request(call, request.type, request.payload, request.shards)
    key = call.request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None:
        request = msgspec.structs.replace(request, idempotency_key=_header_key(request, key))
    done = operations.submit_request(
        _traced(request, call), tenant_id=call.tenant_id, actor=call.actor
    )
    data = submitted.view(done, call.tenant_id)
    headers = {"Location": data.links.this}
    if done.existing:
        headers["Idempotent-Replayed"] = "true"
    return Reply(data=data, status=201, headers=headers)


def read(call: Call, task_id: str) -> Reply:
    with call.wall():
        found = identify(task_id, call.tenant_id)
        view = tasks.get(found, call.tenant_id)
    if call.query.wait and view.finished_at is None and view.state != "archived":
        waiting.until_ended(found, call.query.wait, caller=call.caller.key_id)
        auth.caller_of(call.request)  # a key that was revoked meanwhile hears nothing more
        with call.wall():
            view = tasks.get(found, call.tenant_id)
    return Reply(data=view)


def _header_key(request: TaskRequest, key: str) -> str:
    if request.idempotency_key not in (None, key):
        raise Invalid(
            "`idempotency_key` differs from the header Idempotency-Key", field="idempotency_key"
        )
    if not key.isprintable():
        raise Invalid("Idempotency-Key must be printable text", field="idempotency_key")
    return key


def _traced(request: TaskRequest, call: Call) -> TaskRequest:
    """The task carries its request's trace on, unless it names one of its own."""
    if request.trace_id is not None:
        return request
    return msgspec.structs.replace(request, trace_id=getattr(call.request, "trace_id", None))


def _item(raw: msgspec.Raw, call: Call, shards: limits.Shards) -> TaskRequest | TaskCenterError:
    try:
        request: TaskRequest = unfolded(parsing.decode(bytes(raw), TaskRequest))
        found = limits.check_request(call, request.type, request.payload, request.shards)
        shards.take(request, found)
    except TaskCenterError as error:
        return error
    return _traced(request, call)


def _result(index: int, outcome: Submitted | Refused | TaskCenterError) -> BatchItem:
    if isinstance(outcome, Submitted):
        return BatchItem(index=index, task_id=outcome.task_id)
    error = outcome.error if isinstance(outcome, Refused) else outcome
    shown: dict[str, Any] = errors.brief(error)
    return BatchItem(index=index, error=ItemError(**shown))
