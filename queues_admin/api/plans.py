"""Plans: preview and freeze a bulk action, execute, pause, resume, abort, and the report item by item."""

from typing import Annotated, Literal

from msgspec import Meta

from jobs.builtin import plans as builtin
from jobs.domain.errors import Conflict, NotFound
from jobs.domain.plans import PlanAction
from jobs.operations import plans as operations
from jobs.selectors import plans
from jobs.selectors.paging import Page
from jobs.selectors.plan_view import PlanItemView, PlanView
from jobs.selectors.plans import PlanFilter
from queues_admin.api.bodies import Body, Reason, TenantListQuery, TenantQuery
from queues_admin.api.endpoint import Api, Call, endpoint, steering
from queues_admin.api.envelope import Reply


class PlanNew(Body, frozen=True, kw_only=True):
    """`rate`: tasks a minute. `canary`: so many first, then wait how they end.

    Both stop when more than `stop_percent` fail again.
    """

    action: Literal["retry", "cancel", "archive", "delete", "redrive"]
    filter: PlanFilter
    reason: Reason = ""
    rate: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    canary: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    stop_percent: Annotated[int, Meta(ge=1, le=100)] = 50


class Execute(Body, frozen=True, kw_only=True):
    """`count`: the plan's number of tasks, needed when its preview says `typed_count`."""

    count: int | None = None


class PlanItemQuery(TenantListQuery, frozen=True, kw_only=True):
    state: Literal["waiting", "done", "skipped", "failed"] | None = None


class Plans(Api):
    @endpoint(
        summary="All plans, newest first",
        scope="read",
        query=TenantListQuery,
        data=Page[PlanView],
        of_any_tenant=True,
    )
    def get(self, call: Call) -> Reply:
        found = plans.listing(
            after=call.query.cursor, limit=call.query.limit, tenant_id=call.tenant_id
        )
        return Reply(data=found)

    @endpoint(
        summary="Preview and freeze a bulk action; nothing is changed yet",
        scope="operate",
        action="plan.create",
        body=PlanNew,
        data=PlanView,
        statuses=(201,),
        query=TenantQuery,
        of_any_tenant=True,
    )
    def post(self, call: Call) -> Reply:
        given: PlanNew = call.body
        with call.audited(f"plan:{given.action}", reason=given.reason) as after:
            made = builtin.draft(
                PlanAction(given.action),
                given.filter,
                actor=call.actor,
                tenant_id=call.tenant_id,
                reason=given.reason,
                rate=given.rate,
                canary=given.canary,
                stop_percent=given.stop_percent,
            )
            after.update(plan=made.pk, filter=made.filter, tasks=made.tasks)
        data = plans.get(made.pk, call.tenant_id)
        return Reply(data=data, status=201, headers={"Location": data.links.this})


class Plan(Api):
    @endpoint(
        summary="One plan: preview and progress",
        scope="read",
        data=PlanView,
        raises=(NotFound,),
        query=TenantQuery,
        of_any_tenant=True,
    )
    def get(self, call: Call, plan_id: str) -> Reply:
        return Reply(data=plans.get(_id(plan_id), call.tenant_id))


class Items(Api):
    @endpoint(
        summary="A plan's report, task by task",
        scope="read",
        query=PlanItemQuery,
        data=Page[PlanItemView],
        raises=(NotFound,),
        of_any_tenant=True,
    )
    def get(self, call: Call, plan_id: str) -> Reply:
        plan = plans.get(_id(plan_id), call.tenant_id)
        query: PlanItemQuery = call.query
        found = plans.items(plan.id, state=query.state, after=query.cursor, limit=query.limit)
        return Reply(data=found)


class ExecuteView(Api):
    @endpoint(
        summary="Carry a plan out in the background, after the undo window",
        scope="operate",
        action="plan.execute",
        body=Execute,
        optional_body=True,
        data=PlanView,
        raises=(NotFound, Conflict),
        query=TenantQuery,
        of_any_tenant=True,
    )
    def post(self, call: Call, plan_id: str) -> Reply:
        number = _id(plan_id)
        with call.audited(f"plan:{number}") as after:
            operations.execute(
                number, actor=call.actor, tenant_id=call.tenant_id, count=call.body.count
            )
            data = plans.get(number, call.tenant_id)
            after.update(action=data.action, tasks=data.preview.tasks)
        return Reply(data=data)


class Pause(Api):
    @steering(
        summary="Pause a plan before its next task",
        action="plan.pause",
        data=PlanView,
        raises=(NotFound, Conflict),
        query=TenantQuery,
        of_any_tenant=True,
    )
    def post(self, call: Call, plan_id: str) -> Reply:
        number, reason = _id(plan_id), call.body.reason
        with call.audited(f"plan:{number}", reason=reason):
            operations.pause(number, tenant_id=call.tenant_id, reason=reason)
        return Reply(data=plans.get(number, call.tenant_id))


class Resume(Api):
    @steering(
        summary="Resume a paused plan",
        action="plan.resume",
        data=PlanView,
        raises=(NotFound, Conflict),
        query=TenantQuery,
        of_any_tenant=True,
    )
    def post(self, call: Call, plan_id: str) -> Reply:
        number = _id(plan_id)
        with call.audited(f"plan:{number}", reason=call.body.reason):
            operations.resume(number, tenant_id=call.tenant_id)
        return Reply(data=plans.get(number, call.tenant_id))


class Abort(Api):
    @steering(
        summary="End a plan for good; in the undo window nothing has been changed yet",
        action="plan.abort",
        data=PlanView,
        raises=(NotFound, Conflict),
        query=TenantQuery,
        of_any_tenant=True,
    )
    def post(self, call: Call, plan_id: str) -> Reply:
        number, reason = _id(plan_id), call.body.reason
        with call.audited(f"plan:{number}", reason=reason):
            operations.abort(number, tenant_id=call.tenant_id, reason=reason)
        return Reply(data=plans.get(number, call.tenant_id))


def _id(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise NotFound("There is no such plan", plan=text)
    return int(text)
