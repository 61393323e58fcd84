"""The guide's nine endpoints, to the letter (section 2.6)."""

from uuid import UUID

import msgspec
import structlog
from django.utils import translation
from django.utils.translation import gettext

from jobs.domain import ids
from jobs.domain.errors import (
    Conflict,
    InsufficientCredits,
    NotFound,
    TaskCenterError,
    TaskNotFound,
)
from jobs.domain.states import State
from jobs.operations import actions
from jobs.selectors import health, overview, queues, task_pages, tasks
from jobs.selectors.aliases import identify
from jobs.selectors.health import Health
from jobs.selectors.overview import Overview
from jobs.selectors.queues import QueueStats
from jobs.selectors.task_pages import TaskPage
from jobs.selectors.task_view import TaskView
from jobs.store import catalog
from queues_admin.api import errors
from queues_admin.api.answers import CancelBatchResult, CancelItem, CancelResult, Deleted, ItemError
from queues_admin.api.bodies import (
    Cancel,
    CancelBatch,
    DeleteQuery,
    PageQuery,
    QueueTask,
)
from queues_admin.api.endpoint import Api, Call, Repeats, endpoint, on_tasks
from queues_admin.api.envelope import Reply

log = structlog.get_logger("asynq")

_CANCELLED = "任务已取消并退还资源"
_REQUESTED = "已请求取消，任务停止后退还资源"


class Stats(Api):
    @endpoint(summary="Statistics of all queues", scope="read", data=dict[str, QueueStats])
    def get(self, call: Call) -> Reply:
        return Reply(data=queues.stats(call.sees))


class HealthView(Api):
    @endpoint(summary="Health", scope="read", data=Health)
    def get(self, call: Call) -> Reply:
        return Reply(data=health.check(call.sees))


class OverviewView(Api):
    @endpoint(
        summary="Totals, rates, top errors, firing alerts",
        scope="read",
        data=Overview,
        raises=(NotFound,),
    )
    def get(self, call: Call) -> Reply:
        call.house_only()
        return Reply(data=overview.overview(call.sees))


class QueueTasks(Api):
    @endpoint(
        summary="One queue's tasks in one state",
        scope="read",
        query=PageQuery,
        of_any_tenant=True,
        data=TaskPage,
        raises=(NotFound,),
    )
    def get(self, call: Call) -> Reply:
        q: PageQuery = call.query
        return Reply(
            data=task_pages.page(
                q.queue, q.state, number=q.page, size=q.size, tenant_id=call.tenant_id
            )
        )


class Retry(Api):
    @on_tasks(
        summary="Run a task now, or redrive an archived one",
        action="task.run",
        body=QueueTask,
        data=TaskView,
        raises=(NotFound, Conflict, InsufficientCredits),
    )
    def post(self, call: Call) -> Reply:
        task_id, state = _find(call, call.body.task_id, call.body.queue)
        with call.audited(ids.public_id(task_id), before={"state": state.wire}) as after:
            now = actions.run_now(task_id, actor=call.actor, tenant_id=call.tenant_id)
            after["state"] = now.wire
        return Reply(data=tasks.get(task_id, call.tenant_id))


class Archive(Api):
    @on_tasks(
        summary="Put a waiting task aside",
        action="task.archive",
        body=QueueTask,
        data=TaskView,
        raises=(NotFound, Conflict),
    )
    def post(self, call: Call) -> Reply:
        task_id, state = _find(call, call.body.task_id, call.body.queue)
        with call.audited(ids.public_id(task_id), before={"state": state.wire}) as after:
            actions.archive(task_id, actor=call.actor, tenant_id=call.tenant_id)
            after["state"] = "archived"
        return Reply(data=tasks.get(task_id, call.tenant_id))


class QueueTaskView(Api):
    @endpoint(
        summary="Delete a task; a charged unfinished one is refunded first",
        scope="operate",
        action="task.delete",
        query=DeleteQuery,
        of_any_tenant=True,
        data=Deleted,
        raises=(NotFound, Conflict),
    )
    def delete(self, call: Call, task_id: str) -> Reply:
        found, state = _find(call, task_id, call.query.queue)
        if call.query.state not in (None, state.wire):
            raise Conflict(
                "The task is in another state", state=state.wire, expected=call.query.state
            )
        public = tasks.get(found, call.tenant_id).task_id
        with call.audited(public, before={"state": state.wire}) as after:
            actions.delete(found, actor=call.actor, tenant_id=call.tenant_id)
            after["deleted"] = True
        return Reply(data=Deleted(task_id=public, deleted=True))


class CancelView(Api):
    @on_tasks(
        summary="Cancel a task and refund its credits",
        action="task.cancel",
        body=Cancel,
        data=CancelResult,
        statuses=(200, 202),
        raises=(NotFound, Conflict),
    )
    def post(self, call: Call) -> Reply:
        asked: Cancel = call.body
        done = _cancel(
            call, asked.task_id, asked.reason or actions.DEFAULT_CANCEL_REASON, force=asked.force
        )
        data = CancelResult(
            task_id=tasks.public_id(done.id),
            user_id=done.user_id,
            credits=done.credits,
            refunded=done.refunded,
            reason=done.reason,
            cancel_requested=True if done.requested else msgspec.UNSET,
        )
        return Reply(
            data=data, status=202 if done.requested else 200, message=_message(call, done.requested)
        )


class CancelBatchView(Api):
    @on_tasks(
        summary="Cancel up to 100 tasks and refund their credits",
        action="task.cancel",
        body=CancelBatch,
        data=CancelBatchResult,
        raises=(NotFound,),
        repeats=Repeats.STEPS,
    )
    def post(self, call: Call) -> Reply:
        asked: CancelBatch = call.body
        reason = asked.reason or actions.DEFAULT_BATCH_CANCEL_REASON
        results = [_cancel_item(call, task_id, reason) for task_id in asked.task_ids]
        data = CancelBatchResult(
            total=len(results),
            cancelled=sum(1 for item in results if item.success),
            refunded_credits=sum(item.credits for item in results if item.refunded),
            results=results,
        )
        log.info(
            "[BatchCancelTaskAndRefund]",
            total=data.total,
            cancelled=data.cancelled,
            refunded_credits=data.refunded_credits,
            reason=reason,
        )
        return Reply(data=data, message=_message(call, requested=False))


def _cancel(call: Call, task_id: str, reason: str, *, force: bool = False) -> actions.Cancelled:
    found = identify(task_id, call.tenant_id)
    with call.audited(ids.task_part(task_id), reason=reason) as after:
        done = actions.cancel(
            found, reason=reason, actor=call.actor, force=force, tenant_id=call.tenant_id
        )
        after.update(
            credits=done.credits, refunded=done.refunded, requested=done.requested, force=force
        )
    return done


def _cancel_item(call: Call, task_id: str, reason: str) -> CancelItem:
    try:
        done = _cancel(call, task_id, reason)
    except TaskCenterError as error:
        if isinstance(error, TaskNotFound):
            error.details["task_id"] = task_id
        return CancelItem(
            task_id=task_id,
            success=False,
            user_id=None,
            credits=0,
            refunded=False,
            reason=reason,
            error=ItemError(**errors.brief(error)),
        )
    return CancelItem(
        task_id=task_id,
        success=True,
        user_id=done.user_id,
        credits=done.credits,
        refunded=done.refunded,
        reason=reason,
        error=None,
        cancel_requested=True if done.requested else msgspec.UNSET,
    )


def _find(call: Call, any_id: str, queue: str | None) -> tuple[UUID, State]:
    """The task behind a task or job id, in that queue if one is given. Raises TaskNotFound, UnknownQueue."""
    found = identify(any_id, call.tenant_id)
    state, places = tasks.place(found, call.tenant_id)
    if queue is not None and catalog.queues().own(call.tenant_id, queue).id not in places:
        raise TaskNotFound("There is no such task in this queue", task_id=any_id, queue=queue)
    return found, state


def _message(call: Call, requested: bool) -> str:
    """In the caller's language; without Accept-Language the guide's Chinese text."""
    asked = call.request.headers.get("Accept-Language")
    if not asked or (translation.get_language() or "").startswith("zh"):
        return _REQUESTED if requested else _CANCELLED
    if requested:
        return gettext("Cancellation was requested; the refund follows when the task has stopped")
    return gettext("The task was cancelled and its credits were refunded")
